#!/bin/sh
# tests/cli.sh VMRUN - the command line: exit statuses, messages, what is printed.  TAP.
vmrun=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
failed=0

# try STATUS PATTERN ARGUMENTS...: run it; the output (both streams) matches the pattern.
try() {
    want=$1 pattern=$2
    shift 2
    out=$("$vmrun" "$@" 2>&1 </dev/null)
    got=$?
    n=$((n + 1))
    if [ "$got" = "$want" ] && printf '%s\n' "$out" | grep -q -- "$pattern"; then
        echo "ok $n - vmrun $*"
    else
        failed=1
        echo "not ok $n - vmrun $*"
        echo "# status $got, wanted $want; wanted '$pattern' in:"
        printf '%s\n' "$out" | sed 's/^/#   /'
    fi
}

cat >"$dir/good.conf" <<END
# A test:
[machine]
accel = interp
[device bus]
plugin = test-bus
END
cat >"$dir/bad.conf" <<END
[machine]
acel = interp
[device a]
plugin = test-chp
[device b]
plugin = test-bus
parnt = b
nonsense
[devic c]
END

try 0 '^vmrun [0-9]' --version
try 0 '--machine FILE' --help
try 0 '--machine FILE' -h
try 0 '^.TH VMRUN 1' --man
try 2 '--machine FILE is missing'
try 2 "unknown option '--machin'; did you mean '--machine'" --machin x
try 2 '--wait is for --gdb' --wait --machine pc.conf
try 2 'needs a value' --set
try 2 'takes no value' --check=1
try 2 'is not an option' pc.conf
try 2 'not a number of seconds' --time-limit soon --machine "$dir/good.conf"
try 2 '/nonexistent' --machine "$dir/good.conf" --restore /nonexistent
try 2 'good.conf: it is not a snapshot' --machine "$dir/good.conf" --restore "$dir/good.conf"
try 2 'is not EVENT:ACCEL' --machine "$dir/good.conf" --swap port=1:interp
try 2 'is not EVENT:ACCEL' --machine "$dir/good.conf" --swap io=0x10000:interp
try 2 "no accelerator is named 'magic'" --machine "$dir/good.conf" --swap io=1:magic
try 2 "there is no device 'x'" --machine "$dir/good.conf" --swap irq=x:1:interp
try 2 'nonexistent/folder' --machine "$dir/good.conf" --monitor unix:/nonexistent/folder/socket
try 0 'no errors' --machine "$dir/good.conf" --check
try 0 'no errors' --machine="$dir/good.conf" --check --set bus.parent=none --append 'a ${b} $c'
try 2 "no section is named 'buss'; did you mean 'bus'" --machine "$dir/good.conf" --check --set buss.x=1
try 2 "accel: unknown accelerator 'kvn'; did you mean 'kvm'" --machine "$dir/good.conf" --accel kvn --check
try 2 "bad.conf:2: \[machine\] acel: unknown key; did you mean 'accel'" --machine "$dir/bad.conf"
try 2 "bad.conf:4: \[device a\] plugin: no plugin 'test-chp'" --machine "$dir/bad.conf"
try 2 "bad.conf:7: \[device b\] parnt: unknown key; did you mean 'parent'" --machine "$dir/bad.conf"
try 2 "bad.conf:8: \[device b\]: neither" --machine "$dir/bad.conf"
try 2 "bad.conf:9: \[devic c\]: unknown kind of section" --machine "$dir/bad.conf"
try 2 'it is a directory' --machine "$dir"
try 2 'No such file' --machine "$dir/absent.conf"
try 2 'there is no machine file' --machine no-such-machine
try 2 'larger than' --machine /dev/zero
try 0 '^test-chip  *one of everything' --list plugins
try 0 '^plugin  *test-chip' --list
try 0 '"name": "test-chip"' --list plugins --json
try 0 '^stdio ' --list backends
try 0 '^x86-64-v2  ' --list cpus
for model in $("$vmrun" --list cpus | sed 's/ .*//'); do
    try 0 ' - a CPU model: ' --describe "$model"
done
try 2 "did you mean 'plugins'" --list plugin
try 0 'number = a number, 1..9, Hz; default 3' --describe test-chip
try 0 '"interface": "test.bus/1"' --describe test-chip --json
try 0 'memory = a size' --describe machine
try 2 "did you mean 'test-chip'" --describe test-chi
echo "1..$n"
exit $failed

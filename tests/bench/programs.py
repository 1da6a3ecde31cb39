"""The measure `programs` of tests/bench/run: static Linux programs under vmrun, QEMU's TCG and Bochs.

Each emulator boots the same kernel with the same initramfs, whose only file is the programs, and
runs all of them a few times.  A line on the serial port stands before and after each run, and at
each the CPU time of the emulator's process is taken: neither the guest's clock nor the host's load
matters much.  The instructions of a program, kernel and all, are what vmrun counts in a boot that
runs it less those of a boot that runs none; they are kept beside the programs in build/bench.
"""
import hashlib
import json
import math
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

INTEGER = ('crc', 'xorshift', 'sieve', 'sort', 'chase-64K', 'chase-16M', 'copy')
FLOAT = ('nbody', 'mandelbrot', 'matrix', 'saxpy')
SYSTEM = ('syscall', 'pipe', 'exec', 'fault')
CFLAGS = ('-std=gnu17', '-O2', '-march=x86-64', '-static', '-s')

BOCHSRC = """\
config_interface: textconfig
display_library: {display}
romimage: file={bios}, options=fastboot
vgaromimage: file={vga}
megs: 256
cpu: model=core2_penryn_t9600, count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none
ata0-master: type=cdrom, path={folder}/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={folder}/serial
log: {folder}/bochs.log
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
sound: driver=dummy
speaker: enabled=0
"""
ISOLINUX = ('/usr/lib/ISOLINUX/isolinux.bin', '/usr/lib/syslinux/modules/bios/ldlinux.c32')
BOCHS_BIOS, BOCHS_VGA = '/usr/share/bochs/BIOS-bochs-latest', '/usr/share/vgabios/vgabios.bin'
BOCHS_GUI = '/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_{}_gui.so'


class Failed(Exception):
    pass


def cpu_seconds(pid):
    """Of all threads, to the nanosecond: the clock that clock_getcpuclockid() names."""
    return time.clock_gettime(~pid << 3 | 2)


def cpio(name, data):
    """An archive, as the kernel unpacks it, of /dev, /dev/console and one program."""
    def entry(path, mode, content, major=0, minor=0):
        fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(path) + 1, 0)
        head = b'070701' + b''.join(b'%08X' % f for f in fields) + path.encode() + b'\0'
        return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
    return (entry('dev', 0o40755, b'') + entry('dev/console', 0o20600, b'', 5, 1) +
            entry(name, 0o100755, data) + entry('TRAILER!!!', 0, b''))


class Programs:
    def __init__(self, bench):
        self.bench, self.args = bench, bench.args
        self.folder = os.path.join(os.path.dirname(self.args.vmrun), 'bench')
        self.percent, self.repeat = (2, 1) if self.args.quick else (100, min(self.args.runs, 3))
        self.memory = None
        self.sums = {}

    # ---- making things ----

    def build(self):
        os.makedirs(self.folder, exist_ok=True)
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'programs')
        self.program, self.initrd = self.folder + '/bench', self.folder + '/initrd'
        files = sorted(os.path.join(source, f) for f in os.listdir(source) if f.endswith('.c'))
        done = subprocess.run([shutil.which('x86_64-linux-gnu-gcc') or 'gcc', *CFLAGS, *files, '-o', self.program])
        if done.returncode != 0:
            raise Failed('the programs do not compile (is libc6-dev there, for static linking?)')
        with open(self.program, 'rb') as file:
            data = file.read()
        with open(self.initrd, 'wb') as file:
            file.write(cpio('bench', data))
        self.id = hashlib.sha256(data + str(os.stat(self.args.guest + '/kernel').st_size).encode()).hexdigest()

    def words(self, **settings):
        settings = {'BENCH_REPEAT': self.repeat, 'BENCH_PERCENT': self.percent, **settings}
        return ('console=ttyS0,115200 quiet mitigations=off rdinit=/bench ' +
                ' '.join(f'{name}={value}' for name, value in settings.items()))

    def guest_options(self, words):
        return ['--kernel', self.args.guest + '/kernel', '--initrd', self.initrd, '--append', words]

    def vmrun(self, words, *options):
        return self.bench.vmrun('pc', *self.guest_options(words), *options)

    def qemu(self, words):
        return [self.bench.qemu, '-M', 'pc', '-accel', 'tcg', '-m', '256M', '-nodefaults', '-no-user-config',
                '-display', 'none', '-serial', 'stdio', '-no-reboot',
                *(o.replace('--', '-') for o in self.guest_options(words))]

    def bochs(self, words, folder):
        """Its command, in a folder of its own with a CD to boot from; its serial port is a FIFO there."""
        program = shutil.which('bochs-bin') or shutil.which('bochs')
        maker = shutil.which('genisoimage') or shutil.which('xorrisofs')
        display = next((d for d in ('nogui', 'rfb') if os.path.exists(BOCHS_GUI.format(d))), None)
        there = {'bochs': program and display, 'genisoimage': maker, 'bochsbios': os.path.exists(BOCHS_BIOS),
                 'vgabios': os.path.exists(BOCHS_VGA), 'isolinux': os.path.exists(ISOLINUX[0]),
                 'syslinux-common': os.path.exists(ISOLINUX[1])}
        if missing := [package for package, found in there.items() if not found]:
            raise Failed(f'not there: package {", ".join(missing)}')
        disc = folder + '/disc'
        os.mkdir(disc)
        for file in (*ISOLINUX, self.args.guest + '/kernel', self.initrd):
            shutil.copy(file, disc)
        with open(disc + '/isolinux.cfg', 'w', encoding='ascii') as file:
            file.write(f'default x\nlabel x\n kernel /kernel\n append initrd=/initrd {words}\n')
        subprocess.run([maker, '-quiet', '-o', folder + '/boot.iso', '-b', 'isolinux.bin', '-c', 'boot.cat',
                        '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table', disc], check=True)
        with open(folder + '/bochsrc', 'w', encoding='ascii') as file:
            file.write(BOCHSRC.format(display='rfb, options="timeout=0"' if display == 'rfb' else display,
                                      bios=BOCHS_BIOS, vga=BOCHS_VGA, folder=folder))
        with open(folder + '/rc', 'w', encoding='ascii') as file:
            file.write('c\n')  # Debian's has the debugger built in
        os.mkfifo(folder + '/serial')
        return [program, '-q', '-f', folder + '/bochsrc', '-rc', folder + '/rc']

    # ---- running ----

    def follow(self, command, fifo=None, limit=900):
        """Runs until BENCH-DONE; a list of CPU seconds for each program, 'boot' among them."""
        process, times, seen, last = None, {}, b'', ''
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK) if fifo else None
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                                       stdout=subprocess.DEVNULL if fifo else subprocess.PIPE)
            source, end, begin = reader if fifo else process.stdout.fileno(), time.monotonic() + limit, None
            while True:
                data, left = b'', end - time.monotonic()
                if left <= 0:
                    raise Failed(f'not done after {limit} s; the last line: {last}')
                if select.select([source], [], [], min(left, 1))[0]:
                    data = os.read(source, 65536)
                    now = cpu_seconds(process.pid)
                    if not data:
                        time.sleep(0.05)  # a FIFO before its writer
                if not data:
                    if process.poll() is not None:
                        raise Failed(f'it ended with status {process.returncode}; the last line: {last}')
                    continue
                *lines, seen = (seen + data).split(b'\n')
                for line in lines:
                    last = line.decode(errors='replace').strip()
                    if match := re.search(r'BENCH-(START|DONE|BEGIN|END) ?(\S*) ?(\S*)', last):
                        what, name, total = match.groups()
                        if what == 'START':
                            times['boot'] = [now]
                        elif what == 'BEGIN':
                            begin = now
                        elif what == 'END':
                            times.setdefault(name, []).append(now - begin)
                            self.check(name, total, command[0])
                        else:
                            self.memory = memory_of(process.pid)
                            return times
        finally:
            if process and process.poll() is None:
                process.send_signal(signal.SIGKILL)
            if process:
                process.wait()
            if fifo:
                os.close(reader)

    def check(self, name, total, who):
        if self.sums.setdefault(name, total) != total:
            print(f'{name}: WRONG RESULT of {who}: {total}, not {self.sums[name]}', flush=True)

    def native(self):
        settings = {'BENCH_REPEAT': str(self.repeat), 'BENCH_PERCENT': str(self.percent)}
        output = subprocess.run([self.program], env=settings, stdout=subprocess.PIPE, check=True).stdout.decode()
        times = {}
        for match in re.finditer(r'BENCH-END (\S+) (\S+) user (\S+) system (\S+)', output):
            self.check(match.group(1), match.group(2), 'the host')
            times.setdefault(match.group(1), []).append(float(match.group(3)) + float(match.group(4)))
        return times

    def count(self):
        """Million instructions of each program."""
        path = self.folder + '/instructions.json'
        try:
            with open(path, encoding='ascii') as file:
                kept = json.load(file)
            if kept.pop('of') == self.id:
                return kept
        except (OSError, ValueError, KeyError):
            pass
        totals = {}
        for name in ('none', *INTEGER, *FLOAT, *SYSTEM):
            done = subprocess.run(self.vmrun(self.words(BENCH_REPEAT=1, BENCH_ONLY=name), '--stats'),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            found = re.search(rb'total: .*?(\d+) instructions', done.stdout)
            if not found or b'BENCH-DONE' not in done.stdout:
                raise Failed('no count of instructions:\n' + done.stdout[-2000:].decode(errors='replace'))
            totals[name] = int(found.group(1)) / 1e6
        counts = {name: total - totals['none'] for name, total in totals.items() if name != 'none'}
        with open(path, 'w', encoding='ascii') as file:
            json.dump({'of': self.id, **counts}, file, indent=1)
        return counts

    # ---- the table ----

    def measure(self):
        self.build()
        results = {'native': self.native()}
        with tempfile.TemporaryDirectory() as folder:
            for who in ('vmrun', 'QEMU', 'Bochs'):
                try:
                    if who == 'vmrun':
                        results[who] = self.follow(self.vmrun(self.words()))
                        ours = self.memory
                    elif who == 'QEMU':
                        if not self.bench.qemu:
                            raise Failed('package qemu-system-x86 is not there')
                        results[who] = self.follow(self.qemu(self.words()))
                    elif self.args.quick:
                        raise Failed('its boot takes too long for --quick')
                    else:
                        command = self.bochs(self.words(), folder)
                        results[who] = self.follow(command, folder + '/serial', 1800)
                except Failed as why:
                    if who == 'vmrun':
                        sys.exit(f'bench: vmrun: {why}')
                    print(f'{who:42} MISSING: {why}', flush=True)
        times = {who: {name: statistics.median(runs) for name, runs in all_runs.items()}
                 for who, all_runs in results.items()}
        if not self.args.quick:
            spread = max((max(runs) / min(runs), name) for name, runs in results['vmrun'].items() if name != 'boot')
            print(f'widest spread of vmrun, largest to smallest: {spread[0]:.2f} ({spread[1]})')
        self.table(times, {} if self.args.quick else self.count())
        print(f'\nvmrun, resident beyond the RAM of the guest: {ours[0] / 1024:.1f} MiB, one vCPU; '
              f'RAM that the guest touched: {ours[1] / 1024:.1f} MiB')

    def table(self, times, counts):
        peers = [who for who in ('native', 'QEMU', 'Bochs') if who in times]
        columns = ['vmrun', *peers]
        print('median CPU time, seconds' if not counts else 'million guest instructions a CPU second (medians)',
              '; ratio: speed of vmrun to that of the peer', sep='')
        print(f'{"":12}{"million":>9}' + ''.join(f'{c:>9}' for c in columns) +
              ''.join(f'{"to " + p:>11}' for p in peers))
        means = []
        for title, names in (('integer', INTEGER), ('float', FLOAT), ('system', SYSTEM)):
            for name in names:
                self.line(name, counts.get(name), {c: times[c][name] for c in columns}, peers)
            mean = {c: geometric(times[c][name] / counts.get(name, 1) for name in names) for c in columns}
            means.append((f'{title}, mean', 1 if counts else None, mean))
        print()
        for mean in means:
            self.line(*mean, peers)
        boot = {c: times[c]['boot'] for c in columns if c != 'native'}
        print('\nto the first program, CPU seconds: ' + ', '.join(f'{c} {s:.2f}' for c, s in boot.items()) +
              ''.join(f'; vmrun to {p} {boot["vmrun"] / boot[p]:.2f}' for p in peers if p != 'native'))

    @staticmethod
    def line(name, count, seconds, peers):
        figures = [count / s if count else s for s in seconds.values()]
        print(f'{name:16}' + (f'{count:5.0f}' if count and count > 1 else ' ' * 5) +
              ''.join(f'{f:9.0f}' if count else f'{f:9.3f}' for f in figures) +
              ''.join(f'{seconds[p] / seconds["vmrun"]:11.3f}' for p in peers), flush=True)


def geometric(values):
    values = [max(v, 1e-6) for v in values]
    return math.exp(sum(math.log(v) for v in values) / len(values))


def memory_of(pid):
    """KiB resident: of its own, and shared, which for vmrun is the RAM of the guest."""
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        sizes = dict(re.findall(r'^(Rss\w+):\s+(\d+)', file.read(), re.M))
    return int(sizes['RssAnon']) + int(sizes['RssFile']), int(sizes['RssShmem'])

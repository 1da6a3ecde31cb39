"""The measure `net` of tests/bench/run: TCP over a virtio network card and libslirp, both ways, and ping-pong.

vmrun and QEMU boot the same kernel and initramfs, to which a static program is added that obeys this end over one
TCP connection.  Both guests are up at the same time, and are measured in turn: what disturbs one, disturbs both.
"""
import os
import select
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from programs import CFLAGS, Failed, cpio, cpu_seconds

COMMAND = "ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && /net-guest 10.0.2.2 {port}"

# What is printed, what is done, how much, the unit, the figure from amount and seconds.
MEASURES = (('from guest', 'from', 128 << 20, 'MB/s', lambda amount, wall: amount / wall / 1e6),
            ('to guest', 'to', 128 << 20, 'MB/s', lambda amount, wall: amount / wall / 1e6),
            ('ping-pong', 'ping', 2000, 'us', lambda amount, wall: wall / amount * 1e6))


class Guest:
    """A guest that has connected to a port of ours."""

    def __init__(self, start, limit=300):
        with socket.create_server(('127.0.0.1', 0)) as server:
            command = start(COMMAND.format(port=server.getsockname()[1]))
            self.log = tempfile.TemporaryFile()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
            end = time.monotonic() + limit
            while not select.select([server], [], [], 0.5)[0]:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.fail('does not connect')
            self.socket = server.accept()[0]
        self.socket.settimeout(limit)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.cpu = None

    def fail(self, why):
        self.log.seek(0)
        output = self.log.read().decode(errors='replace')
        self.stop()
        raise Failed(f'a guest {why}; status {self.process.returncode}:\n{output[-2000:]}')

    def command(self, letter, length):
        try:
            self.socket.sendall(b'%c%016x' % (letter.encode(), length))
        except OSError as error:
            self.fail(str(error))

    def receive(self, length):
        while length:
            try:
                data = self.socket.recv(min(length, 1 << 18))
            except OSError as error:
                self.fail(str(error))
            if not data:
                self.fail('hangs up')
            length -= len(data)

    def measure(self, what, amount):
        """Seconds, and of the emulator's CPU."""
        before, start = cpu_seconds(self.process.pid), time.monotonic()
        if what == 'from':
            self.command('S', amount)
            self.receive(amount)
        elif what == 'to':
            self.command('R', amount)
            self.socket.sendall(bytes(amount))
            self.receive(1)
        else:
            self.command('E', amount)
            for _ in range(amount):
                self.socket.sendall(b'x')
                self.receive(1)
        return time.monotonic() - start, cpu_seconds(self.process.pid) - before

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


class Net:
    def __init__(self, bench):
        self.bench, self.args = bench, bench.args
        self.folder = os.path.join(os.path.dirname(self.args.vmrun), 'bench')

    def build(self):
        os.makedirs(self.folder, exist_ok=True)
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'net-guest.c')
        program, self.initrd = self.folder + '/net-guest', self.folder + '/net-initrd'
        done = subprocess.run([shutil.which('x86_64-linux-gnu-gcc') or 'gcc', *CFLAGS, source, '-o', program])
        if done.returncode != 0:
            raise Failed('the guest program does not compile (is libc6-dev there, for static linking?)')
        with open(self.initrd, 'wb') as file:
            with open(self.args.guest + '/initrd', 'rb') as first:
                shutil.copyfileobj(first, file)
            file.write(bytes(-file.tell() % 512))
            with open(program, 'rb') as data:
                file.write(cpio('net-guest', data.read()))

    def vmrun(self, command):
        return self.bench.vmrun('pc-net', *self.bench.linux(command, self.initrd))

    def qemu(self, command):
        return [*self.bench.qemu_linux(command, self.initrd), '-netdev', 'user,id=net0',
                '-device', 'virtio-net-pci,netdev=net0,romfile=']

    def measure(self):
        """For each measure: its title, its unit, and by guest, the peer first, the figures."""
        self.build()
        guests = {}
        try:
            if self.bench.qemu:
                guests['QEMU pc, TCG'] = Guest(self.qemu)
            guests['vmrun pc-net.conf'] = Guest(self.vmrun)
            for title, what, amount, unit, figure in MEASURES:
                amount //= 8 if self.args.quick else 1
                runs = {who: [] for who in guests}
                for _ in range(2 if self.args.quick else 1 + self.args.runs):
                    for who, guest in guests.items():
                        runs[who].append(guest.measure(what, amount))
                results = {}
                for who, (_, *times) in runs.items():  # the first is to warm up
                    share = statistics.median(cpu / wall for wall, cpu in times)
                    results[f'{who}, {share:.2f} CPUs'] = [figure(amount, wall) for wall, _ in times]
                yield title, unit, results
        finally:
            for guest in guests.values():
                guest.stop()

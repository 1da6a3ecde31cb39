/*
 * tests/unit/fakehost.h - a host for unit tests of one device: fake IRQ, DMA and clock.
 *
 * One FakeHost holds one or more devices, a flat guest RAM at address 0, a clock
 * that moves only when told, and a record of what the device did.
 * Single-threaded; everything happens in the caller's stack.
 */
#ifndef FAKEHOST_H
#define FAKEHOST_H

#include <vmrun/describe.h>
#include <vmrun/host.h>
#include <vmrun/plugin.h>
#include <vmrun/x86.h>

typedef struct FakeHost FakeHost;

/* ram_size bytes of zeroed guest RAM; cpus fake vCPUs that offer VMR_X86_CPU and record. */
FakeHost *fake_host_new(size_t ram_size, unsigned cpus);
void fake_host_free(FakeHost *h); /* unrealizes and frees all devices */

/* Load the built plugin `id` (from the build's plugins folder, environment
   VMRUN_PLUGIN_DIR) and make a device.  `properties` is "key=value;key=value".  Links are given
   as key=@name of an earlier device; IRQ outputs are recorded (fake_irq_level) and may be
   connected: "irq=@pic0:4", "irq=@pic0:in:4", "irq=cpu0:intr"; as in a machine file `+` fans out,
   `!` inverts and commas separate the members of a group.  A region key (`regs=0x3f8`,
   `regs=io:0x3f8`, `regs=mem:0xfee00000`) only appears in descriptions.
   The plugin file is <id>.so; "file:class" picks a class of a file with several.
   Aborts the test with a message if it cannot be made. */
VmrDevice *fake_device_new(FakeHost *h, const char *plugin_id, const char *name,
                           const char *properties);
/* The same, but gives NULL and sets `error`, for tests of what realize refuses. */
VmrDevice *fake_device_try(FakeHost *h, const char *plugin_id, const char *name,
                           const char *properties, GError **error);
void fake_reset(FakeHost *h, VmrResetKind kind); /* three phases over all devices */

/* Accesses through the region table, with the fabric's size fix-up. */
uint64_t fake_read(VmrDevice *dev, const char *region, uint64_t offset, unsigned size);
void fake_write(VmrDevice *dev, const char *region, uint64_t offset, uint64_t value, unsigned size);
void fake_set_initiator(FakeHost *h, int cpu); /* default: 0, or -1 without vCPUs */

/* Lines. */
bool fake_irq_level(VmrDevice *dev, const char *line, unsigned n);
unsigned fake_irq_edges(VmrDevice *dev, const char *line, unsigned n); /* rising edges so far */
void fake_line_set(VmrDevice *dev, const char *line, unsigned n, bool level); /* drive an input */

/* Clock, ns: advancing fires due timers in order, each at its own deadline, and moves the wall
   clock along.  Work that was submitted is done at the start of an advance (of 0, if need be). */
int64_t fake_now(FakeHost *h);
void fake_advance(FakeHost *h, int64_t ns);
void fake_set_wall(FakeHost *h, int64_t ns_since_epoch);

/* Guest RAM. */
uint8_t *fake_ram(FakeHost *h);
/* What vmr_ram_ranges() says; default: all of fake_ram() at 0. */
void fake_set_ram_ranges(FakeHost *h, const VmrMemoryRange *ranges, unsigned count);

/* Bytes that went back with vmr_ram_release(), zeroed, and in how many calls. */
uint64_t fake_released(FakeHost *h, unsigned *calls);

/* Called before each DMA read: a guest that rewrites what is being read.  NULL: no more. */
void fake_dma_hook(FakeHost *h, void (*hook)(FakeHost *h, void *data), void *data);

/* Where a bus has placed a region; false: nowhere. */
bool fake_mapped(VmrDevice *dev, const char *region, VmrSpaceId *space, uint64_t *base);

/* Chardev: a property of type CHARDEV given as key=fake gets a fake back end. */
void fake_chardev_input(VmrDevice *dev, const void *data, unsigned len); /* as can_receive allows */
const GString *fake_chardev_output(VmrDevice *dev);
void fake_chardev_limit(VmrDevice *dev, unsigned bytes); /* how much writes take from now on */

void fake_chardev_event(VmrDevice *dev, VmrChardevEvent event);

/* Drive: a property of type DRIVE given as key=fake, fake:SIZE or fake:SIZE:ro is a disk in memory,
   of zeroes.  Its requests are done at the start of a fake_advance(). */
uint8_t *fake_drive_data(VmrDevice *dev, const char *property);
void fake_drive_fail(VmrDevice *dev, const char *property, int error); /* from now on; 0: no more */
unsigned fake_drive_requests(VmrDevice *dev, const char *property);    /* so far */

/* Net: a property of type NET given as key=fake, or fake:offloads (it takes and gives all of them),
   records what is sent.  fake_net_input() delivers: false: the device had no room, and gets it
   at its next vmr_net_accept(). */
bool fake_net_input(VmrDevice *dev, const VmrNetFrame *frame);
unsigned fake_net_sent(VmrDevice *dev);               /* frames so far */
const GByteArray *fake_net_last(VmrDevice *dev, VmrNetFrame *frame); /* the last one; may be NULL */
uint32_t fake_net_offloads(VmrDevice *dev);           /* what the device has asked for */
void fake_net_room(VmrDevice *dev, bool room);        /* does sending work? */
const VmrNetHandler *fake_net_handler(VmrDevice *dev);

/* Display: what a device shows whose property of type DISPLAY was given as key=fake. */
const VmrDisplaySource *fake_display(VmrDevice *dev);

/* Numbers for fuzzing: the same sequence in every run; below `bound` if it is not 0. */
uint32_t fake_random(FakeHost *h, uint32_t bound);

/* Requests and logs. */
bool fake_last_request(FakeHost *h, VmrRequest *request, uint32_t *code); /* false: none */
unsigned fake_guest_errors(VmrDevice *dev);
/* A value that vmr_machine_value() gives. */
void fake_machine_value(FakeHost *h, const char *section, const char *key, const char *value);

/* Fake vCPUs record what their controllers did. */
typedef struct FakeCpu {
    bool intr;
    unsigned nmis, smis, inits, sipis;
    uint8_t sipi_vector;
    VmrX86State state; /* set_state stores, get_state gives */
} FakeCpu;
FakeCpu *fake_cpu(FakeHost *h, unsigned index);

/* Save all fields of a device by its table and load them into another of the same class;
   g_assert on a difference.  Runs post_load. */
void fake_save_load(VmrDevice *from, VmrDevice *to);
/* One element of a saved field (not a timer), and post_load alone: for hostile snapshots. */
uint64_t fake_field_get(VmrDevice *dev, const char *field, unsigned index);
void fake_field_set(VmrDevice *dev, const char *field, unsigned index, uint64_t value);
bool fake_post_load(VmrDevice *dev, GError **error);
const VmrDescription *fake_description(VmrDevice *dev);

#endif

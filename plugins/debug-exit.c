/*
 * debug-exit - lets a guest program end vmrun with an exit status of its choice.
 *
 * Models no real chip: it is the port by which test programs and guest images
 * report a result.  A write of N, of any size and at any of its four ports,
 * ends vmrun with exit status N & 0xff.  Reads give all ones.
 *
 * It is also the smallest complete device, so begin here if you are about to
 * write one.  From top to bottom: an instance structure, what the device does,
 * the tables that say so, and the class that ties them together.  The next one
 * to read is port92.c, which adds properties, output lines, reset and state.
 */
#include <vmrun/host.h>
#include <vmrun/plugin.h>

/* One of these per [device NAME]; the host allocates and zeroes it. */
typedef struct DebugExit {
    VmrDevice dev; /* always first, so that a VmrDevice * can be cast back */
} DebugExit;

/* The guest wrote to the region.  `offset` is relative to it: a device never
   learns at which port or address the machine file has put it. */
static void port_write(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)
{
    vmr_trace(dev, "exit %u", (unsigned)(value & 0xff));
    /* Carried out after this access; the guest may run a few instructions more. */
    vmr_request(dev, VMR_REQUEST_EXIT, value & 0xff);
}

/* The keys that a machine file may use for addresses: `port = 0x501`. */
static const VmrRegion debug_exit_regions[] = {
    {
        .name = "port",
        .kind = VMR_REGION_PIO,
        .size = 4,
        .impl_min = 1,
        .impl_max = 4,
        .write = port_write,
        .doc = "a write of N ends vmrun with exit status N & 0xff",
    },
    {0}, /* every table ends with a NULL name */
};

static const VmrDeviceClass debug_exit_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "debug-exit",
    .summary = "ends vmrun with an exit status that the guest chooses",
    .doc = "For test programs and guest images. In the shipped machines it is at I/O port 0x501:\n"
           "a guest that writes 0 there has succeeded, anything else is its own error code.",
    .flags = VMR_DEVICE_NO_STATE, /* said aloud: nothing to save, nothing to reset */
    .instance_size = sizeof(DebugExit),
    .regions = debug_exit_regions,
};

VMR_PLUGIN_DEVICE("debug-exit", "1.0", &debug_exit_class);

/*
 * vmrun/plugin.h - the one symbol that a plugin exports.
 *
 * A plugin is a shared object with one exported *data* symbol, `vmr_plugin`.
 * The loader reads it, and refuses the file with a clear error, before any
 * code of the plugin runs.  All else is reached from its factories.
 *
 * Compatibility: `abi_major` must equal the host's.  `abi_minor` is additive:
 * a host accepts a plugin of an older minor, and reads a table only up to the
 * table's own `size`; a member beyond that size does not exist.
 */
#ifndef VMRUN_PLUGIN_H
#define VMRUN_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define VMR_PLUGIN_MAGIC 0x504d5256u /* "VRMP", little endian */
#define VMR_ABI_MAJOR 1
#define VMR_ABI_MINOR 1 /* 1: region_map, drives, nets, ram_release */

/* Factory ids: what `VmrFactory.object` points to. */
#define VMR_FACTORY_DEVICE "vmr.device/1" /* const VmrDeviceClass (vmrun/device.h) */
#define VMR_FACTORY_CPU "vmr.cpu/1"       /* a CPU front end of the interpreter */
#define VMR_FACTORY_ACCEL "vmr.accel/1"   /* an accelerator */

typedef struct VmrFactory {
    const char *id;     /* one of VMR_FACTORY_*; an id the host does not know is skipped */
    const void *object; /* a const table that starts with its own uint32_t size */
} VmrFactory;

typedef struct VmrPlugin {
    uint32_t magic;     /* VMR_PLUGIN_MAGIC */
    uint16_t abi_major; /* VMR_ABI_MAJOR it was built with */
    uint16_t abi_minor; /* VMR_ABI_MINOR it was built with */
    uint32_t size;      /* sizeof(VmrPlugin) it was built with */
    uint32_t reserved;  /* 0 */
    const char *name;   /* short name of the plugin file, e.g. "serial16550" */
    const char *version;
    const VmrFactory *const *factories; /* NULL-terminated */
} VmrPlugin;

/*
 * Defines the entry symbol of a plugin with one or more device classes:
 *
 *     VMR_PLUGIN_DEVICES("debug-exit", "1.0", &debug_exit_class)
 *
 * The first class must be given, up to four may be.
 */
#define VMR_PLUGIN_SYMBOL "vmr_plugin"
#define VMR_PLUGIN_EXPORT __attribute__((visibility("default")))

#define VMR_PLUGIN_DEFINE_(name_, version_, factories_)                                            \
    extern const VmrPlugin vmr_plugin;                                                             \
    VMR_PLUGIN_EXPORT const VmrPlugin vmr_plugin = {                                               \
        VMR_PLUGIN_MAGIC, VMR_ABI_MAJOR, VMR_ABI_MINOR, sizeof(VmrPlugin), 0,                      \
        name_,            version_,      factories_}

#define VMR_PLUGIN_DEVICE(name_, version_, class_)                                                 \
    static const VmrFactory vmr_factory_0_ = {VMR_FACTORY_DEVICE, class_};                         \
    static const VmrFactory *const vmr_factories_[] = {&vmr_factory_0_, NULL};                     \
    VMR_PLUGIN_DEFINE_(name_, version_, vmr_factories_)

#define VMR_PLUGIN_DEVICES2(name_, version_, class0_, class1_)                                     \
    static const VmrFactory vmr_factory_0_ = {VMR_FACTORY_DEVICE, class0_};                        \
    static const VmrFactory vmr_factory_1_ = {VMR_FACTORY_DEVICE, class1_};                        \
    static const VmrFactory *const vmr_factories_[] = {&vmr_factory_0_, &vmr_factory_1_, NULL};    \
    VMR_PLUGIN_DEFINE_(name_, version_, vmr_factories_)

#endif

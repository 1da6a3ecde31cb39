/*
 * core/monitor.h - commands from outside: QMP on a UNIX socket, and for people in the terminal.
 *
 * All [main] without the domain lock, but where it says otherwise.  docs/monitor.md
 */
#ifndef VMR_CORE_MONITOR_H
#define VMR_CORE_MONITOR_H

#include "machine.h"
#include <vmrun/balloon.h>

/* ---- what commands do (monitor.c) ------------------------------------- */

typedef enum VmrEvent {
    VMR_EVENT_STOP,
    VMR_EVENT_RESUME,
    VMR_EVENT_RESET,
    VMR_EVENT_SHUTDOWN,
    VMR_EVENT_POWERDOWN,
    VMR_EVENT_PANICKED, /* the guest has crashed */
    VMR_EVENT_SWAP,     /* another accelerator runs it */
} VmrEvent;

/* Tell the monitor's clients.  `guest`: the guest wanted it. */
void vmr_monitor_event(VmrMachine *machine, VmrEvent event, bool guest);

bool vmr_machine_stop(VmrMachine *machine, GError **error); /* until vmr_machine_cont() */
void vmr_machine_cont(VmrMachine *machine);
bool vmr_machine_is_stopped(const VmrMachine *machine);
/* Presses and releases the ACPI power button: [machine] power-button. */
bool vmr_machine_powerdown(VmrMachine *machine, GError **error);
bool vmr_machine_savevm(VmrMachine *machine, const char *path, GError **error);
/* Keys by QMP's names ("ctrl", "a", "f1") or "0x1e": all go down, and after hold_ms up. */
bool vmr_machine_send_keys(VmrMachine *machine, const char *const *names, unsigned hold_ms,
                           GError **error);
bool vmr_machine_screendump(VmrMachine *machine, const char *path, GError **error);
/* The first balloon device: how much memory the guest is to have, and has, in bytes. */
bool vmr_machine_balloon(VmrMachine *machine, uint64_t bytes, GError **error);
bool vmr_machine_balloon_memory(VmrMachine *machine, uint64_t *bytes, GError **error);

/* What its guest said last of its memory, and ask for more: how many are in `stats`. */
unsigned vmr_machine_balloon_stats(VmrMachine *machine, VmrBalloonStat *stats, unsigned max);

/* ---- for people (monitor-human.c, monitor-info.c) --------------------- */

/* Carry out a line: what it prints.  Caller frees. */
char *vmr_monitor_human(VmrMachine *machine, const char *line);
/* "info WHAT" and "x /FMT ADDR" (physical: xp).  False: there is no such thing. */
bool vmr_monitor_info(VmrMachine *machine, const char *what, GString *to);
void vmr_monitor_dump(VmrMachine *machine, const char *format, const char *address, bool physical,
                      GString *to);

/* ---- in the terminal (monitor-terminal.c) ----------------------------- */

/* A key for the monitor, to be looked at soon.  Under the domain lock, as the next. */
void vmr_monitor_terminal_key(VmrMachine *machine, uint8_t key);
/* Ctrl-A c; and is it on? */
void vmr_monitor_terminal_toggle(VmrMachine *machine);
bool vmr_monitor_terminal_on(const VmrMachine *machine);
/* Carry out a line soon, and print what it says. */
void vmr_monitor_terminal_line(VmrMachine *machine, const char *line);

/* ---- QMP (monitor-qmp.c) ---------------------------------------------- */

/* "unix:PATH" or PATH.  Before vmr_machine_run(). */
bool vmr_monitor_listen(VmrMachine *machine, const char *address, GError **error);
void vmr_monitor_close(VmrMachine *machine);
void vmr_qmp_event(VmrMachine *machine, VmrEvent event, bool guest);

#endif

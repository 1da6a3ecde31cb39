/*
 * accel/interp/x86/mix.h - which ops are executed, and which follow which: -Dinterp_mix=true.
 *
 * The fused ops of ops.h were chosen from these figures.  Counts are of one vCPU only to be
 * trusted: nothing orders those of several.
 */
#ifndef VMR_INTERP_X86_MIX_H
#define VMR_INTERP_X86_MIX_H

#if defined(INTERP_MIX)
#include <stdint.h>

/* The op that is executed now; `first`: it begins a block, and follows nothing. */
void x86_mix_count(unsigned code, bool first);
/* On standard error, the most frequent ones. */
void x86_mix_print(void);
#else
#define x86_mix_count(code, first) ((void)0)
#define x86_mix_print() ((void)0)
#endif

#endif

/* The floating-point instructions of SSE in software, as x86_soft_NAME: see sse-fp.c. */
#ifndef X86_FP_SOFT
#define X86_FP_SOFT
#endif
#define FP_NAME(n) x86_soft_##n
#include "sse-fp.c"

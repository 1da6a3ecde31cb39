/*
 * What assembler and C of the guests agree on: selectors, low memory, offsets of struct vm.
 */
#ifndef GUEST_DEFS_H
#define GUEST_DEFS_H

/* Selectors.  The user ones in the order that SYSRET wants. */
#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_CODE16 0x20
#define SEL_DATA16 0x28
#define SEL_UCODE32 0x33
#define SEL_UDATA 0x3b
#define SEL_UCODE64 0x43
#define SEL_SYSENTER 0x50 /* 0x50 to 0x78: in the order that SYSENTER and SYSEXIT want */
#define SEL_TSS32 0x90
#define SEL_TSS32B 0x98
#define SEL_TSSDF 0xa0
#define SEL_LDT 0xa8
#define SEL_TEST 0xb0 /* ten descriptors for the tests */
#define SEL_TSS64 0x100 /* one of 16 bytes for each CPU */

/* Low memory */
#define AP_VECTOR 0x0c /* page of the application processors' start */
#define SNIPPET_AT 0x10000
#define REAL_STACK 0x2000 /* a segment */
#define USER_STACK 0x30000 /* top of a stack for the snippets of other modes */

/* Interrupt vector with which a snippet says that it is done */
#define VEC_DONE 0xf0

#define MODE_LONG 0
#define MODE_PROT 1 /* also virtual-8086, by EFLAGS.VM */
#define MODE_REAL 2

/* Offsets in struct vm */
#define VM_R(n) ((n) * 8)
#define VM_RIP 128
#define VM_FLAGS 136
#define VM_CS 144
#define VM_SS 152
#define VM_DS 160
#define VM_ES 168
#define VM_FS 176
#define VM_GS 184
#define VM_CR0 192
#define VM_CR3 200
#define VM_CR4 208
#define VM_EFER 216
#define VM_MODE 224
#define VM_VECTOR 232
#define VM_ERROR 240
#define VM_CR2 248
#define VM_DR6 256
#define VM_SIZE 264

#define CPUS_MAX 8
#define STACK_SIZE 16384

#endif

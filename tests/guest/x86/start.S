/*
 * Entry of a guest: PVH (32-bit protected mode, paging off) to 64-bit mode with the first
 * 4 GiB mapped one to one, traps of 64-bit mode, and calls that survive a trap.
 */
#include "defs.h"

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start

    .section .text.start, "ax"
    .code32
    .globl start
start:
    cli
    cld
    mov $boot_stack_top, %esp
    /* The low part, to where 16-bit code can reach it */
    mov $low_load, %esi
    mov $0x8000, %edi
    mov $low_size, %ecx
    rep movsb
    /* Page tables: four pages of 2 MiB entries, supervisor; the same again for all rings. */
    mov $pd_host, %edi
    mov $0x83, %eax
    call fill_pd
    mov $pd_user, %edi
    mov $0x87, %eax
    call fill_pd
    mov $pdpt_host, %edi
    mov $pd_host + 3, %eax
    call fill_pdpt
    mov $pdpt_user, %edi
    mov $pd_user + 7, %eax
    call fill_pdpt
    movl $pdpt_host + 3, pml4_host
    movl $pdpt_user + 7, pml4_user
    lgdt gdt_pointer
    mov $pml4_host, %eax
    mov %eax, %cr3
    mov $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax /* LME */
    wrmsr
    mov $0x80000011, %eax /* PG ET PE */
    mov %eax, %cr0
    ljmp $SEL_CODE64, $start64

fill_pd:
    mov $2048, %ecx
1:  mov %eax, (%edi)
    movl $0, 4(%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    ret
fill_pdpt:
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $4096, %eax
    add $8, %edi
    loop 1b
    ret

    .code64
start64:
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $boot_stack_top, %esp
    xor %edi, %edi
    call cpu_init
    call guest_main
1:  hlt
    jmp 1b

    .text
/* Traps.  The frame on the stack is struct trap of lib.h. */
    .globl trap_stubs
    .balign 16
trap_stubs:
    .set n, 0
    .rept 256
    .balign 16
    .if !((n == 8) || (n >= 10 && n <= 14) || (n == 17) || (n == 21))
    push $0
    .endif
    push $n
    jmp trap_common
    .set n, n + 1
    .endr
trap_common:
    push %r15
    push %r14
    push %r13
    push %r12
    push %r11
    push %r10
    push %r9
    push %r8
    push %rdi
    push %rsi
    push %rbp
    push %rsp
    push %rbx
    push %rdx
    push %rcx
    push %rax
    cld
    mov %rsp, %rdi
    mov %rsp, %rbx
    and $-16, %rsp
    call trap
    mov %rbx, %rsp
    pop %rax
    pop %rcx
    pop %rdx
    pop %rbx
    add $8, %rsp
    pop %rbp
    pop %rsi
    pop %rdi
    pop %r8
    pop %r9
    pop %r10
    pop %r11
    pop %r12
    pop %r13
    pop %r14
    pop %r15
    add $16, %rsp
    iretq

/* bool guarded_call(fn, arg, uint64_t *save_rsp): false when a trap cut it short */
    .globl guarded_call
guarded_call:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    pushfq
    sub $8, %rsp
    mov %rsp, (%rdx)
    mov %rdi, %rax
    mov %rsi, %rdi
    call *%rax
    mov $1, %eax
1:  add $8, %rsp
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
/* The trap handler returns to here, with RSP from *save_rsp. */
    .globl guarded_return
guarded_return:
    xor %eax, %eax
    jmp 1b

/* run_thunk(struct regs *r, code): the code is an instruction and RET; leaves R10, R11, RSP */
    .globl run_thunk
run_thunk:
    push %rbx
    push %rbp
    mov %rdi, %r10
    mov %rsi, %r11
    mov (%r10), %rax
    mov 8(%r10), %rcx
    mov 16(%r10), %rdx
    mov 24(%r10), %rbx
    mov 40(%r10), %rbp
    mov 48(%r10), %rsi
    mov 56(%r10), %rdi
    mov 64(%r10), %r8
    mov 72(%r10), %r9
    push 80(%r10)
    popfq
    call *%r11
    pushfq
    pop 80(%r10)
    cld
    mov %rax, (%r10)
    mov %rcx, 8(%r10)
    mov %rdx, 16(%r10)
    mov %rbx, 24(%r10)
    mov %rbp, 40(%r10)
    mov %rsi, 48(%r10)
    mov %rdi, 56(%r10)
    mov %r8, 64(%r10)
    mov %r9, 72(%r10)
    pop %rbp
    pop %rbx
    ret

/* The same in 32-bit code of compatibility mode; the stack has to be below 4 GiB. */
    .globl run_thunk32
run_thunk32:
    push %rbx
    push %rbp
    push %r12
    mov %rsp, %r12
    sub $64, %rsp
    mov %edi, thunk_regs
    mov %esi, thunk_code
    ljmp *to_compat
    .code32
compat:
    mov thunk_regs, %edi
    mov (%edi), %eax
    mov 8(%edi), %ecx
    mov 16(%edi), %edx
    mov 24(%edi), %ebx
    mov 40(%edi), %ebp
    mov 48(%edi), %esi
    pushl 80(%edi)
    mov 56(%edi), %edi
    popfl
    call *thunk_code
    pushfl
    push %edi
    mov thunk_regs, %edi
    mov %eax, (%edi)
    mov %ecx, 8(%edi)
    mov %edx, 16(%edi)
    mov %ebx, 24(%edi)
    mov %ebp, 40(%edi)
    mov %esi, 48(%edi)
    popl 56(%edi)
    popl 80(%edi)
    ljmp $SEL_CODE64, $1f
    .code64
1:  cld
    mov %r12, %rsp
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .data
    .balign 8
to_compat:
    .long compat
    .word SEL_CODE32
    .balign 4
thunk_regs:
    .long 0
thunk_code:
    .long 0

    .globl gdt, gdt_pointer, idt_pointer
    .balign 16
gdt:
    .quad 0
    .quad 0x00209b0000000000 /* 0x08 code64 */
    .quad 0x00cf93000000ffff /* 0x10 data */
    .quad 0x00cf9b000000ffff /* 0x18 code32 */
    .quad 0x00009b000000ffff /* 0x20 code16 */
    .quad 0x000093000000ffff /* 0x28 data16 */
    .quad 0x00cffb000000ffff /* 0x33 user code32 */
    .quad 0x00cff3000000ffff /* 0x3b user data */
    .quad 0x0020fb0000000000 /* 0x43 user code64 */
    .quad 0
    .quad 0x00209b0000000000 /* 0x50 SYSENTER: code64, data, then SYSEXIT's */
    .quad 0x00cf93000000ffff
    .quad 0x00cffb000000ffff
    .quad 0x00cff3000000ffff
    .quad 0x0020fb0000000000
    .quad 0x00cff3000000ffff
    .fill 16 + 2 * CPUS_MAX, 8, 0
gdt_end:
    .word 0
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
    .word 0, 0, 0
idt_pointer:
    .word 4095
    .quad idt

    .bss
    .balign 4096
    .globl pml4_host, pml4_user, pd_host, pd_user, pdpt_host, pdpt_user, idt, boot_stack_top
pml4_host: .skip 4096
pml4_user: .skip 4096
pdpt_host: .skip 4096
pdpt_user: .skip 4096
pd_host: .skip 16384
pd_user: .skip 16384
idt: .skip 4096
boot_stack: .skip 65536
boot_stack_top:
    .section .note.GNU-stack, "", @progbits

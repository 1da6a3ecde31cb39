/*
 * vm_run(): leaves 64-bit mode as far as struct vm says, runs code there until any trap,
 * stores the state at that trap, comes back.  Code ends by INT VEC_DONE.
 */
#include "defs.h"

    .section .low, "awx"
    .globl vm
    .balign 16
vm: .skip VM_SIZE
    .globl host_rsp
host_rsp: .quad 0
host_cr0: .quad 0
host_cr3: .quad 0
host_cr4: .quad 0
host_efer: .quad 0
host_gs: .quad 0
saved_eax: .long 0
saved_ds: .long 0
real_sp: .word 0, 0
real_idt: .word 0x3ff
    .long 0
    .globl vm_idt32_pointer, vm_idt64_pointer
    .balign 4
    .word 0
vm_idt32_pointer:
    .word 2047
    .long vm_idt32, 0
    .balign 4
    .word 0
vm_idt64_pointer:
    .word 4095
    .long vm_idt64, 0
low_gdt_pointer:
    .word 0xff + 16 * CPUS_MAX
    .long gdt, 0
    .balign 4
to_legacy:
    .long legacy
    .word SEL_CODE32

    .code64
    .globl vm_enter
vm_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    pushfq
    cli
    mov %rsp, host_rsp
    mov %cr0, %rax
    mov %rax, host_cr0
    mov %cr3, %rax
    mov %rax, host_cr3
    mov %cr4, %rax
    mov %rax, host_cr4
    mov $0xc0000080, %ecx
    rdmsr
    mov %eax, host_efer
    mov $0xc0000101, %ecx
    rdmsr
    mov %eax, host_gs
    mov %edx, host_gs + 4
    cmpl $MODE_LONG, vm + VM_MODE
    jne 1f
    mov $0xc0000080, %ecx
    mov vm + VM_EFER, %eax
    xor %edx, %edx
    wrmsr
    lidt vm_idt64_pointer
    mov vm + VM_CR4, %rax
    mov %rax, %cr4
    mov vm + VM_CR3, %rax
    mov %rax, %cr3
    mov vm + VM_CR0, %rax
    mov %rax, %cr0
    push vm + VM_SS
    push vm + VM_R(4)
    push vm + VM_FLAGS
    push vm + VM_CS
    push vm + VM_RIP
    mov vm + VM_DS, %ds
    mov vm + VM_ES, %es
    mov vm + VM_FS, %fs
    mov vm + VM_GS, %gs
    mov vm + VM_R(0), %rax
    mov vm + VM_R(1), %rcx
    mov vm + VM_R(2), %rdx
    mov vm + VM_R(3), %rbx
    mov vm + VM_R(5), %rbp
    mov vm + VM_R(6), %rsi
    mov vm + VM_R(7), %rdi
    mov vm + VM_R(8), %r8
    mov vm + VM_R(9), %r9
    mov vm + VM_R(10), %r10
    mov vm + VM_R(11), %r11
    mov vm + VM_R(12), %r12
    mov vm + VM_R(13), %r13
    mov vm + VM_R(14), %r14
    mov vm + VM_R(15), %r15
    iretq
1:  lgdt low_gdt_pointer
    ljmp *to_legacy

    .code32
legacy:
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $vm_stack_top, %esp
    mov %cr0, %eax
    and $0x7fffffff, %eax
    mov %eax, %cr0
    mov $0xc0000080, %ecx
    mov vm + VM_EFER, %eax
    xor %edx, %edx
    wrmsr
    mov vm + VM_CR4, %eax
    mov %eax, %cr4
    cmpl $MODE_REAL, vm + VM_MODE
    je to_real
    mov vm + VM_CR3, %eax
    mov %eax, %cr3
    mov vm + VM_CR0, %eax
    mov %eax, %cr0
    lidt vm_idt32_pointer
    movb $0x89, gdt + SEL_TSS32 + 5
    mov $SEL_TSS32, %eax
    ltr %ax
    testl $0x20000, vm + VM_FLAGS
    jz 2f
    pushl vm + VM_GS
    pushl vm + VM_FS
    pushl vm + VM_DS
    pushl vm + VM_ES
    jmp 3f
2:  testl $3, vm + VM_CS
    jnz 3f
    mov vm + VM_SS, %eax
    mov vm + VM_R(4), %ebx
    mov %eax, %ss
    mov %ebx, %esp
    jmp 4f
3:  pushl vm + VM_SS
    pushl vm + VM_R(4)
4:  pushl %cs:vm + VM_FLAGS
    pushl %cs:vm + VM_CS
    pushl %cs:vm + VM_RIP
    testl $0x20000, %cs:vm + VM_FLAGS
    jnz 5f
    mov %cs:vm + VM_ES, %es
    mov %cs:vm + VM_FS, %fs
    mov %cs:vm + VM_GS, %gs
    mov %cs:vm + VM_DS, %ds
5:  mov %cs:vm + VM_R(0), %eax
    mov %cs:vm + VM_R(1), %ecx
    mov %cs:vm + VM_R(2), %edx
    mov %cs:vm + VM_R(3), %ebx
    mov %cs:vm + VM_R(5), %ebp
    mov %cs:vm + VM_R(6), %esi
    mov %cs:vm + VM_R(7), %edi
    iretl

to_real:
    lidt real_idt
    ljmp $SEL_CODE16, $1f
    .code16
1:  mov $SEL_DATA16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    movl vm + VM_CR0, %eax
    and $0x7ffffffe, %eax
    mov %eax, %cr0
    ljmp $0, $1f
1:  mov %cs:vm + VM_SS, %ss
    mov %cs:vm + VM_R(4), %esp
    pushw %cs:vm + VM_FLAGS
    pushw %cs:vm + VM_CS
    pushw %cs:vm + VM_RIP
    mov %cs:vm + VM_ES, %es
    mov %cs:vm + VM_FS, %fs
    mov %cs:vm + VM_GS, %gs
    mov %cs:vm + VM_DS, %ds
    mov %cs:vm + VM_R(0), %eax
    mov %cs:vm + VM_R(1), %ecx
    mov %cs:vm + VM_R(2), %edx
    mov %cs:vm + VM_R(3), %ebx
    mov %cs:vm + VM_R(5), %ebp
    mov %cs:vm + VM_R(6), %esi
    mov %cs:vm + VM_R(7), %edi
    iretw

/* ---- traps of real mode ---- */
    .globl real_stubs
    .balign 8
real_stubs:
    .set n, 0
    .rept 256
    .balign 8
    pushw $n
    jmp real_exit
    .set n, n + 1
    .endr
real_exit:
    movl %eax, %cs:vm + VM_R(0)
    xor %eax, %eax
    movl %eax, %cs:vm + VM_ERROR
    popw %cs:vm + VM_VECTOR
    popw %ax
    movl %eax, %cs:vm + VM_RIP
    popw %ax
    movl %eax, %cs:vm + VM_CS
    popw %ax
    movl %eax, %cs:vm + VM_FLAGS
    movl %ecx, %cs:vm + VM_R(1)
    movl %edx, %cs:vm + VM_R(2)
    movl %ebx, %cs:vm + VM_R(3)
    movl %esp, %cs:vm + VM_R(4)
    movl %ebp, %cs:vm + VM_R(5)
    movl %esi, %cs:vm + VM_R(6)
    movl %edi, %cs:vm + VM_R(7)
    movw %ss, %cs:vm + VM_SS
    movw %ds, %cs:vm + VM_DS
    movw %es, %cs:vm + VM_ES
    movw %fs, %cs:vm + VM_FS
    movw %gs, %cs:vm + VM_GS
    xor %eax, %eax
    mov %eax, %ds
    lgdtl low_gdt_pointer
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $SEL_CODE32, $back32

/* ---- traps of 32-bit protected mode ---- */
    .code32
    .globl prot_stubs
    .balign 8
prot_stubs:
    .set n, 0
    .rept 256
    .balign 16
    .if !((n == 8) || (n >= 10 && n <= 14) || (n == 17))
    push $0
    .endif
    push $n
    jmp prot_exit
    .set n, n + 1
    .endr
prot_exit:
    push %ds
    push %eax
    mov $SEL_DATA, %eax
    mov %eax, %ds
    popl vm + VM_R(0)
    popl vm + VM_DS
    popl vm + VM_VECTOR
    popl vm + VM_ERROR
    popl vm + VM_RIP
    popl vm + VM_CS
    popl vm + VM_FLAGS
    mov %es, vm + VM_ES
    mov %fs, vm + VM_FS
    mov %gs, vm + VM_GS
    testl $0x20000, vm + VM_FLAGS
    jnz 1f
    testl $3, vm + VM_CS
    jnz 1f
    mov %esp, vm + VM_R(4)
    mov %ss, vm + VM_SS
    jmp 2f
1:  popl vm + VM_R(4)
    popl vm + VM_SS
    testl $0x20000, vm + VM_FLAGS
    jz 2f
    popl vm + VM_ES
    popl vm + VM_DS
    popl vm + VM_FS
    popl vm + VM_GS
2:  mov %ecx, vm + VM_R(1)
    mov %edx, vm + VM_R(2)
    mov %ebx, vm + VM_R(3)
    mov %ebp, vm + VM_R(5)
    mov %esi, vm + VM_R(6)
    mov %edi, vm + VM_R(7)
    mov %cr2, %eax
    mov %eax, vm + VM_CR2
    movzwl vm + VM_DS, %eax
    mov %eax, vm + VM_DS
back32:
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $vm_stack_top, %esp
    mov %cr0, %eax
    and $0x7fffffff, %eax
    mov %eax, %cr0
    lgdt low_gdt_pointer
    mov host_cr4, %eax
    mov %eax, %cr4
    mov host_cr3, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    mov host_efer, %eax
    and $~0x400, %eax /* not LMA, which is not ours to set */
    xor %edx, %edx
    wrmsr
    mov host_cr0, %eax
    mov %eax, %cr0
    ljmp $SEL_CODE64, $back64

/* The double fault of 32-bit mode is a task of its own. */
    .globl df_task
df_task:
    movl $0x108, vm + VM_VECTOR
    popl vm + VM_ERROR
    jmp back32

/* ---- traps of 64-bit and compatibility mode, on their own stack ---- */
    .code64
    .globl long_stubs
    .balign 16
long_stubs:
    .set n, 0
    .rept 256
    .balign 16
    .if !((n == 8) || (n >= 10 && n <= 14) || (n == 17) || (n == 21))
    push $0
    .endif
    push $n
    jmp long_exit
    .set n, n + 1
    .endr
long_exit:
    pop vm + VM_VECTOR
    pop vm + VM_ERROR
    pop vm + VM_RIP
    pop vm + VM_CS
    pop vm + VM_FLAGS
    mov %rax, vm + VM_R(0)
    pop %rax
    mov %rax, vm + VM_R(4)
    pop vm + VM_SS
    mov %rcx, vm + VM_R(1)
    mov %rdx, vm + VM_R(2)
    mov %rbx, vm + VM_R(3)
    mov %rbp, vm + VM_R(5)
    mov %rsi, vm + VM_R(6)
    mov %rdi, vm + VM_R(7)
    mov %r8, vm + VM_R(8)
    mov %r9, vm + VM_R(9)
    mov %r10, vm + VM_R(10)
    mov %r11, vm + VM_R(11)
    mov %r12, vm + VM_R(12)
    mov %r13, vm + VM_R(13)
    mov %r14, vm + VM_R(14)
    mov %r15, vm + VM_R(15)
    mov %ds, vm + VM_DS
    mov %es, vm + VM_ES
    mov %fs, vm + VM_FS
    mov %gs, vm + VM_GS
    mov %cr2, %rax
    mov %rax, vm + VM_CR2
    mov host_cr0, %rax
    mov %rax, %cr0
    mov host_cr3, %rax
    mov %rax, %cr3
    mov host_cr4, %rax
    mov %rax, %cr4
    mov $0xc0000080, %ecx
    mov host_efer, %eax
    xor %edx, %edx
    wrmsr
back64:
    lgdt gdt_pointer
    lidt idt_pointer
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $0xc0000101, %ecx
    mov host_gs, %eax
    mov host_gs + 4, %edx
    wrmsr
    mov %dr6, %rax
    mov %rax, vm + VM_DR6
    movb $0x89, gdt + SEL_TSS64 + 5
    mov $SEL_TSS64, %eax
    ltr %ax
    mov host_rsp, %rsp
    cld
    popfq
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

/* ---- where application processors start: real mode, CS = AP_VECTOR << 8, IP = 0 ---- */
    .section .low.ap, "awx"
    .balign 4096
    .globl ap_start, ap_boot_cr3, ap_ticket
ap_start:
    .code16
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl low_gdt_pointer
    mov $0x20, %eax
    mov %eax, %cr4
    mov $pml4_host, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $0x80000011, %eax /* straight from real mode to long mode */
    mov %eax, %cr0
    ljmpl $SEL_CODE64, $1f
    .code64
1:  mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $1, %edi
    lock xadd %edi, ap_ticket
    cmp $CPUS_MAX, %edi
    jae 2f
    mov %edi, %eax
    inc %eax
    imul $STACK_SIZE, %eax, %eax
    lea ap_stacks(%rax), %rsp
    push %rdi
    push %rdi
    call cpu_init
    pop %rdi
    call ap_main
2:  cli
    hlt
    jmp 2b
ap_ticket:
    .long 1

    .bss
    .balign 4096
    .globl vm_stack_top, vm_idt32, vm_idt64, trap_stack_top
vm_stack: .skip 8192
vm_stack_top:
trap_stack: .skip 8192
trap_stack_top:
vm_idt32: .skip 2048
    .balign 4096
vm_idt64: .skip 4096
ap_stacks: .skip STACK_SIZE * CPUS_MAX
    .section .note.GNU-stack, "", @progbits

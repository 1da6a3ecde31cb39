/*
 * first - the shortest guest: its first instructions end the machine with exit status 0.
 * A PVH kernel; for the time from the start of a process to the first guest instruction.
 */
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start

    .text
    .globl start
start:
    mov $0x501, %edx
    xor %eax, %eax
    out %al, %dx
1:  hlt
    jmp 1b

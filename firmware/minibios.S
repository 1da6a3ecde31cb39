/*
 * firmware/minibios.S - the little BIOS that a boot sector finds.
 *
 * After the IBM PC/AT's interrupt conventions and, for INT 15h E820h, ACPI 6.x
 * chapter 15.  4 KiB of real-mode code at f000:f000, assembled into the boot-x86
 * plugin, which fills in `boot_minibios_memory` and puts it into RAM below 1 MiB.
 *
 *   INT 10h  0Eh teletype and 13h string to the first serial port; 03h, 0Fh: constants
 *   INT 11h, 12h  equipment, 639 KiB
 *   INT 13h  the boot disk as drive 80h, if it is an IDE disk: 00h-03h, 08h, 15h and the
 *            extensions 41h-43h, 48h (Phoenix EDD 1.1), by PIO and 28-bit addresses
 *   INT 15h  E820h, E801h, 88h memory; 2401h A20
 *   INT 16h  00h, 01h, 02h (and 10h, 11h) from the serial port
 *   INT 1Ah  00h ticks, counted by INT 8
 *
 * With a boot disk the power-on code loads its first sector itself.
 *
 * Left out: video modes, other disks, the clock's date, PCI, printers, APM.
 */
#define ORG 0xf000
#define AT(label) ((label) - boot_minibios + ORG)
#define COM1 0x3f8
#define SMAP 0x534d4150
#define FLAG_CF 0x01
#define FLAG_ZF 0x40

        .section .rodata.minibios, "a"
        .code16
        .balign 16
        .globl  boot_minibios, boot_minibios_memory, boot_minibios_disk, boot_minibios_end
        .hidden boot_minibios, boot_minibios_memory, boot_minibios_disk, boot_minibios_end

boot_minibios:
/* Power-on: vectors, BIOS data area, interrupt controllers, timer, serial port. */
post:
        cli
        cld
        xor     %ax, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $0x7c00, %sp
        xor     %di, %di
        mov     $256, %cx
1:      mov     $AT(ignore), %ax
        stosw
        mov     $0xf000, %ax
        stosw
        loop    1b
        mov     $AT(vectors), %si
2:      lodsw   %cs:(%si), %ax          /* address of the vector; 0 ends */
        test    %ax, %ax
        jz      3f
        mov     %ax, %bx
        lodsw   %cs:(%si), %ax
        mov     %ax, (%bx)
        jmp     2b
3:      movw    $COM1, 0x400
        movw    $0x9fc0, 0x40e
        movw    $0x0220, 0x410
        movw    $639, 0x413
        movl    $0, 0x46c
        mov     $AT(outs), %si
        xor     %dx, %dx
4:      lodsw   %cs:(%si), %ax          /* port, value; port 0 ends */
        xchg    %ax, %dx
        lodsb   %cs:(%si), %al
        test    %dx, %dx
        jz      5f
        out     %al, %dx
        jmp     4b
5:      call    boot_disk
        xor     %ax, %ax
        xor     %bx, %bx
        xor     %si, %si
        xor     %di, %di
        xor     %bp, %bp
        mov     $0x80, %dx
        sti
        ljmp    $0, $0x7c00

vectors:
        .word   0x08 * 4, AT(int08), 0x10 * 4, AT(int10), 0x11 * 4, AT(int11)
        .word   0x12 * 4, AT(int12), 0x13 * 4, AT(int13), 0x15 * 4, AT(int15)
        .word   0x16 * 4, AT(int16), 0x18 * 4, AT(int18), 0x19 * 4, AT(int18)
        .word   0x1a * 4, AT(int1a), 0

.macro  outs port, value
        .word   \port
        .byte   \value
.endm
outs:
        outs 0x20, 0x11; outs 0xa0, 0x11; outs 0x21, 0x08; outs 0xa1, 0x70
        outs 0x21, 0x04; outs 0xa1, 0x02; outs 0x21, 0x01; outs 0xa1, 0x01
        outs 0x21, 0xfe; outs 0xa1, 0xff
        outs 0x43, 0x36; outs 0x40, 0x00; outs 0x40, 0x00
        outs COM1 + 3, 0x80; outs COM1, 0x01; outs COM1 + 1, 0x00
        outs COM1 + 3, 0x03; outs COM1 + 2, 0x07; outs COM1 + 4, 0x03
        outs 0, 0

ignore: iret

int08:  push    %ax
        push    %ds
        xor     %ax, %ax
        mov     %ax, %ds
        incl    0x46c
        int     $0x1c
        mov     $0x20, %al
        out     %al, $0x20
        pop     %ds
        pop     %ax
        iret

int10:  cmp     $0x0e, %ah
        je      teletype
        cmp     $0x13, %ah
        je      string
        cmp     $0x03, %ah
        je      1f
        cmp     $0x0f, %ah
        jne     ignore
        mov     $0x5003, %ax            /* mode 3, 80 columns */
        mov     $0, %bh
        iret
1:      mov     $0x0607, %cx            /* the cursor: at the origin */
        xor     %dx, %dx
        iret
teletype:
        call    put
        iret
string: push    %ax
        push    %bp
        push    %cx
        jcxz    2f
1:      mov     %es:(%bp), %al
        call    put
        inc     %bp
        loop    1b
2:      pop     %cx
        pop     %bp
        pop     %ax
        iret

/* AL to the serial port; gives up if the port takes nothing. */
put:    push    %ax
        push    %cx
        push    %dx
        mov     %al, %ah
        mov     $COM1 + 5, %dx
        mov     $0xffff, %cx
1:      in      %dx, %al
        test    $0x20, %al
        loopz   1b
        mov     $COM1, %dx
        mov     %ah, %al
        out     %al, %dx
        pop     %dx
        pop     %cx
        pop     %ax
        ret

int11:  mov     $0x0220, %ax            /* one serial port, 80x25 colour */
        iret

int12:  mov     $639, %ax
        iret

/* ---- the disk ---- */

/* Load the first sector of the boot disk, if there is one. */
boot_disk:
        mov     %cs:AT(boot_minibios_disk), %dx
        test    %dx, %dx
        jz      9f
        movb    $1, 0x475               /* BIOS data area: hard disks */
        add     $6, %dx
        mov     %cs:AT(disk_device), %al
        out     %al, %dx
        call    disk_wait
        mov     $0xec, %al              /* IDENTIFY DEVICE */
        out     %al, %dx
        call    disk_wait
        test    $0x21, %al
        jnz     8f
        mov     $0x7c00, %di
        mov     $256, %cx
        sub     $7, %dx
        rep insw
        mov     0x7c00 + 2 * 60, %eax
        mov     %eax, %cs:AT(disk_sectors)
        xor     %edx, %edx              /* as many heads as it takes for 1024 cylinders */
        mov     $1024 * 63 * 16, %ebx
        mov     $16, %cx
1:      cmp     %ebx, %eax
        jbe     2f
        shl     $1, %ebx
        shl     $1, %cx
        cmp     $256, %cx
        jb      1b
        mov     $255, %cx
2:      mov     %cx, %cs:AT(disk_heads)
        xor     %eax, %eax
        mov     $0x7c00, %di
        mov     $1, %cx
        mov     $0x20, %bl
        call    disk_move
        jc      8f
        cmpw    $0xaa55, 0x7dfe
        jne     8f
9:      ret
8:      mov     $AT(no_boot), %si
7:      lodsb   %cs:(%si), %al
        test    %al, %al
        jz      int18
        call    put
        jmp     7b
no_boot:
        .asciz  "The disk has no boot sector.\r\n"

/* DX: the status register, AL: what it says, not busy. */
disk_wait:
        mov     %cs:AT(boot_minibios_disk), %dx
        add     $7, %dx
1:      in      %dx, %al
        test    $0x80, %al
        jnz     1b
        ret

/*
 * CX sectors from LBA EAX on, by command BL (20h read, 30h write), at ES:DI; a buffer may
 * cross a segment.  CF: failed, CX sectors before the end.  Changes all but BL, BP, DS.
 */
disk_move:
        mov     %eax, %esi
        mov     $0x02, %al              /* without interrupts */
        call    disk_control
1:      clc
        jcxz    9f
        push    %cx
        mov     %cs:AT(boot_minibios_disk), %dx
        add     $6, %dx
        mov     %esi, %eax
        shr     $24, %eax
        and     $0x0f, %al
        or      %cs:AT(disk_device), %al
        out     %al, %dx
        call    disk_wait
        sub     $5, %dx
        mov     $1, %al
        out     %al, %dx
        inc     %dx
        mov     %esi, %eax
        out     %al, %dx
        inc     %dx
        shr     $8, %eax
        out     %al, %dx
        inc     %dx
        shr     $8, %eax
        out     %al, %dx
        add     $2, %dx
        mov     %bl, %al
        out     %al, %dx
        call    disk_wait
        test    $0x21, %al
        jnz     8f
        test    $0x08, %al
        jz      8f
        sub     $7, %dx
        mov     $256, %cx
        cld
        push    %di
        cmp     $0x30, %bl
        je      2f
        rep insw
        xor     %al, %al
        jmp     3f
2:      push    %ds
        push    %esi
        push    %es
        pop     %ds
        mov     %di, %si
        rep outsw
        pop     %esi
        pop     %ds
        call    disk_wait
        test    $0x21, %al
3:      pop     %di
        jnz     8f
        mov     %es, %ax
        add     $512 / 16, %ax
        mov     %ax, %es
        inc     %esi
        pop     %cx
        dec     %cx
        jmp     1b
8:      pop     %cx
        stc
9:      pushf
        mov     $0x00, %al
        call    disk_control
        popf
        ret

disk_control:
        mov     %cs:AT(boot_minibios_disk) + 2, %dx
        out     %al, %dx
        ret

int13:  cmp     $0x80, %dl
        jne     8f
        cmpw    $0, %cs:AT(boot_minibios_disk)
        je      8f
        cmp     $0x01, %ah              /* reset, status: nothing is ever wrong */
        jbe     9f
        cmp     $0x03, %ah
        jbe     disk_chs
        cmp     $0x08, %ah
        je      disk_geometry
        cmp     $0x15, %ah
        je      disk_type
        cmp     $0x41, %ah
        je      disk_extensions
        cmp     $0x42, %ah
        je      disk_lba
        cmp     $0x43, %ah
        je      disk_lba
        cmp     $0x48, %ah
        je      disk_parameters
8:      mov     $0x01, %ah
        jmp     fail
9:      xor     %ah, %ah
        jmp     succeed

/* 02h, 03h: AL sectors, cylinder CL7:6 CH, head DH, sector CL5:0, at ES:BX. */
disk_chs:
        pushal
        push    %es
        mov     %sp, %bp
        mov     %bx, %di
        mov     $0x20, %bl
        cmpb    $0x03, 31(%bp)          /* AH */
        jne     1f
        mov     $0x30, %bl
1:      mov     %cl, %ah
        shr     $6, %ah
        mov     %ch, %al
        movzwl  %ax, %eax
        movzwl  %cs:AT(disk_heads), %esi
        imul    %esi, %eax
        movzbl  %dh, %esi
        add     %esi, %eax
        imul    $63, %eax
        and     $0x3f, %cl
        movzbl  %cl, %esi
        lea     -1(%eax, %esi), %eax
        movzbw  30(%bp), %cx            /* AL */
        call    disk_move
        pop     %es
        popal
        mov     $0x00, %ah
        jnc     succeed
disk_failed:
        mov     $0x20, %ah              /* controller failure */
        jmp     fail

/* 42h, 43h: by the packet at DS:SI. */
disk_lba:
        pushal
        push    %es
        mov     $0x20, %bl
        cmp     $0x43, %ah
        jne     1f
        mov     $0x30, %bl
1:      cmpl    $0, 12(%si)
        stc
        jne     2f
        mov     2(%si), %cx
        les     4(%si), %di
        mov     8(%si), %eax
        call    disk_move
2:      pop     %es
        popal
        jc      disk_failed
        xor     %ah, %ah
        jmp     succeed

/* 08h: CX the last cylinder and sector, DH the last head, DL disks. */
disk_geometry:
        push    %esi
        push    %eax
        push    %edx
        movzwl  %cs:AT(disk_heads), %esi
        imul    $63, %esi
        mov     %cs:AT(disk_sectors), %eax
        xor     %edx, %edx
        div     %esi
        cmp     $1024, %eax
        jbe     1f
        mov     $1024, %eax
1:      dec     %ax
        pop     %edx
        mov     %al, %ch
        mov     %ah, %cl
        shl     $6, %cl
        or      $63, %cl
        mov     %cs:AT(disk_heads), %dh
        dec     %dh
        mov     $1, %dl
        pop     %eax
        pop     %esi
        xor     %ax, %ax
        jmp     succeed

/* 15h: CX:DX sectors, AH 3 a hard disk. */
disk_type:
        mov     %cs:AT(disk_sectors), %dx
        mov     %cs:AT(disk_sectors) + 2, %cx
        mov     $0x03, %ah
        jmp     succeed

disk_extensions:
        mov     $0xaa55, %bx
        mov     $0x0001, %cx            /* by packets */
        mov     $0x01, %ah
        jmp     succeed

/* 48h: into the 26 bytes at DS:SI. */
disk_parameters:
        push    %eax
        movw    $26, (%si)
        movw    $0, 2(%si)
        movl    $16383, 4(%si)
        movl    $16, 8(%si)
        movl    $63, 12(%si)
        mov     %cs:AT(disk_sectors), %eax
        mov     %eax, 16(%si)
        movl    $0, 20(%si)
        movw    $512, 24(%si)
        pop     %eax
        xor     %ah, %ah
        jmp     succeed

/* Return with CF set, or clear, in the caller's flags. */
fail:   push    %bp
        mov     %sp, %bp
        orw     $FLAG_CF, 6(%bp)
        pop     %bp
        iret
succeed:
        push    %bp
        mov     %sp, %bp
        andw    $~FLAG_CF, 6(%bp)
        pop     %bp
        iret

int15:  cmp     $0xe820, %ax
        je      e820
        cmp     $0xe801, %ax
        je      e801
        cmp     $0x2401, %ax
        je      1f
        cmp     $0x88, %ah
        je      2f
        mov     $0x86, %ah
        jmp     fail
1:      xor     %ah, %ah
        jmp     succeed
2:      mov     %cs:AT(memory_88), %ax
        jmp     succeed
e801:   mov     %cs:AT(memory_1m), %ax
        mov     %cs:AT(memory_16m), %bx
        mov     %ax, %cx
        mov     %bx, %dx
        jmp     succeed
e820:   cmp     $SMAP, %edx
        jne     1f
        cmp     $20, %ecx
        jb      1f
        movzwl  %cs:AT(boot_minibios_memory), %eax
        cmp     %eax, %ebx
        jae     1f
        push    %ds
        push    %si
        push    %di
        push    %cs
        pop     %ds
        cld
        imul    $20, %bx, %si
        add     $AT(memory_map), %si
        mov     $10, %cx
        rep movsw
        pop     %di
        pop     %si
        pop     %ds
        inc     %ebx
        cmp     %eax, %ebx
        jb      2f
        xor     %ebx, %ebx
2:      mov     $20, %ecx
        mov     $SMAP, %eax
        jmp     succeed
1:      mov     $0x86, %ah
        jmp     fail

int16:  and     $0xef, %ah
        jz      1f
        cmp     $0x01, %ah
        je      2f
        xor     %al, %al                /* 02h: no shift key */
        iret
1:      call    poll                    /* 00h: wait */
        jz      1b
        movb    $0, %cs:AT(key)
        iret
2:      call    poll                    /* 01h: ZF says whether there is none */
        push    %bp
        mov     %sp, %bp
        jz      3f
        andw    $~FLAG_ZF, 6(%bp)
        pop     %bp
        iret
3:      orw     $FLAG_ZF, 6(%bp)
        pop     %bp
        iret

/* AX: the next key, left there; ZF: none. */
poll:   mov     %cs:AT(key), %al
        test    %al, %al
        jnz     1f
        push    %dx
        mov     $COM1 + 5, %dx
        in      %dx, %al
        and     $0x01, %al
        jz      2f
        mov     $COM1, %dx
        in      %dx, %al
        mov     %al, %cs:AT(key)
2:      pop     %dx
1:      mov     $0, %ah
        test    %al, %al
        ret

/* Nothing to boot (any more). */
int18:  cli
1:      hlt
        jmp     1b

int1a:  test    %ah, %ah
        jnz     fail
        push    %ds
        xor     %ax, %ax
        mov     %ax, %ds
        mov     0x46c, %dx
        mov     0x46e, %cx
        pop     %ds
        jmp     succeed

key:    .byte   0
disk_heads:
        .word   16
disk_sectors:
        .long   0

/* Filled in at a reset: plugins/boot-x86/flat.c. */
        .balign 4
boot_minibios_disk:
        .word   0                       /* the command block's ports; 0: there is no disk */
        .word   0                       /* the control register's port */
disk_device:
        .byte   0xe0                    /* device register: master or slave, LBA */

/* Filled in by the loader: plugins/boot-x86/flat.c. */
        .balign 4
boot_minibios_memory:
        .word   0                       /* entries of the map */
memory_1m:
        .word   0                       /* KiB from 1 MiB to 16 MiB */
memory_16m:
        .word   0                       /* 64 KiB blocks from 16 MiB on */
memory_88:
        .word   0                       /* KiB from 1 MiB on */
memory_map:
        .skip   20 * 34

        .skip   0xff0 - (. - boot_minibios)
        ljmp    $0xf000, $AT(post)      /* the reset vector */
        .skip   0x1000 - (. - boot_minibios)
boot_minibios_end:

        .section .note.GNU-stack, "", @progbits

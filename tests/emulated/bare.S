/* check_kernels on a bare x86-64 CPU, for Bochs: a boot sector that loads the rest of the disk, and
 * the way from 16-bit mode to 64-bit mode with every vector register switched on. */
        .code16
        .section .boot, "ax"
        .globl _start
_start: cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7000, %sp
        movb    %dl, drive
        inb     $0x92, %al              /* address line 20 */
        orb     $2, %al
        outb    %al, $0x92
        /* read SECTORS sectors to 0x10000 and on, 64 at a time */
        movw    $SECTORS, %bx
next:   movw    $64, %ax
        cmpw    %bx, %ax
        jbe     read
        movw    %bx, %ax
read:   movw    %ax, packet_count
        subw    %ax, %bx
        movw    $packet, %si
        movb    $0x42, %ah
        movb    drive, %dl
        int     $0x13
        jc      hang
        movw    packet_count, %ax
        addw    %ax, packet_sector
        shlw    $5, %ax                 /* sectors to paragraphs */
        addw    %ax, packet_segment
        testw   %bx, %bx
        jnz     next
        /* page tables at 0x1000: 16 MiB in 2 MiB pages, and nothing behind them */
        movw    $0x1000, %di
        xorl    %eax, %eax
        movw    $0xc00, %cx
        rep     stosl
        movl    $0x2003, 0x1000
        movl    $0x3003, 0x2000
        movw    $0x3000, %di
        movl    $0x83, %eax
entry:  movl    %eax, (%di)
        addw    $8, %di
        addl    $0x200000, %eax
        cmpl    $0x1000000, %eax
        jb      entry
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    $0x40620, %eax          /* CR4: PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x100, %eax            /* EFER: long mode */
        wrmsr
        lgdt    gdt_pointer
        movl    %cr0, %eax
        andl    $~4, %eax               /* no FPU emulation */
        orl     $0x80000003, %eax       /* paging, MP, protection */
        movl    %eax, %cr0
        ljmp    $8, $long
hang:   hlt
        jmp     hang
drive:  .byte   0
        .balign 4
packet: .byte   16, 0
packet_count:
        .word   0
        .word   0
packet_segment:
        .word   0x1000
packet_sector:
        .quad   1
        .balign 8
gdt:    .quad   0, 0x00209a0000000000, 0x0000920000000000
gdt_pointer:
        .word   23
        .long   gdt
        .code64
long:   movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    $XCR0, %eax
        xsetbv
        movl    $0xf00000, %esp
        movl    $__bss_start, %edi
        movl    $_end, %ecx
        subl    %edi, %ecx
        xorl    %eax, %eax
        rep     stosb
        movl    $bare_main, %eax
        call    *%rax
stop:   hlt
        jmp     stop
        .org    510
        .word   0xaa55

        .section .rodata
        .globl  cases_blob
        .balign 16
cases_blob:
        .incbin "cases.bin"
        .section .note.GNU-stack, "", @progbits

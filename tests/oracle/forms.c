/*
 * The instruction forms: SDM volume 2, appendix A, for 64-bit user mode.
 *
 * Integer instructions stand in a table of their own; the vector maps (0F,
 * 0F38, 0F3A with each mandatory prefix) and the x87 are enumerated opcode by
 * opcode, so that what the interpreter does not have is shown to be #UD on the
 * host as well.  What is left out is listed in left_out[], with the reason.
 */
#include "oracle.h"

#include <stdio.h>

GPtrArray *forms;

enum { LOCKABLE = 1, REPS = 2, REPS2 = 4, AS32 = 8, JUMP = 16, VEX = 32, VEXV = 64 };

/*
 * spec: operands E (register and memory), M, R (one of them), Z (register in
 * the opcode), - (none); then the sizes b w d q v (16, 32, 64) y (32, 64)
 * s (stack: 16, 64) n (no prefixes); then the immediate's bytes: 0 1 2 4 8,
 * z (2 or 4), v (as the operand).
 */
typedef struct Row {
    const char *group, *name;
    uint8_t map, opcode;
    int8_t ext;
    uint8_t prefix;
    const char *spec;
    Special special;
    unsigned flags;
    uint8_t bytes; /* of memory, 0: the operand's size */
} Row;

static const Row rows[] = {
    {"alu", "test", 0, 0x84, -1, 0, "Eb0", 0, 0, 0},
    {"alu", "test", 0, 0x85, -1, 0, "Ev0", 0, 0, 0},
    {"alu", "test", 0, 0xa8, -1, 0, "-b1", 0, 0, 0},
    {"alu", "test", 0, 0xa9, -1, 0, "-vz", 0, 0, 0},
    {"alu", "test", 0, 0xf6, 0, 0, "Eb1", 0, 0, 0},
    {"alu", "test", 0, 0xf6, 1, 0, "Eb1", 0, 0, 0},
    {"alu", "test", 0, 0xf7, 0, 0, "Evz", 0, 0, 0},
    {"alu", "test", 0, 0xf7, 1, 0, "Evz", 0, 0, 0},
    {"alu", "not", 0, 0xf6, 2, 0, "Eb0", 0, LOCKABLE, 0},
    {"alu", "not", 0, 0xf7, 2, 0, "Ev0", 0, LOCKABLE, 0},
    {"alu", "neg", 0, 0xf6, 3, 0, "Eb0", 0, LOCKABLE, 0},
    {"alu", "neg", 0, 0xf7, 3, 0, "Ev0", 0, LOCKABLE, 0},
    {"alu", "inc", 0, 0xfe, 0, 0, "Eb0", 0, LOCKABLE, 0},
    {"alu", "inc", 0, 0xff, 0, 0, "Ev0", 0, LOCKABLE, 0},
    {"alu", "dec", 0, 0xfe, 1, 0, "Eb0", 0, LOCKABLE, 0},
    {"alu", "dec", 0, 0xff, 1, 0, "Ev0", 0, LOCKABLE, 0},
    {"alu", "adcx", 2, 0xf6, -1, 0x66, "Ey0", 0, 0, 0},
    {"alu", "adox", 2, 0xf6, -1, 0xf3, "Ey0", 0, 0, 0},
    {"alu", "clc", 0, 0xf8, -1, 0, "-n0", 0, 0, 0},
    {"alu", "stc", 0, 0xf9, -1, 0, "-n0", 0, 0, 0},
    {"alu", "cmc", 0, 0xf5, -1, 0, "-n0", 0, 0, 0},
    {"alu", "cld", 0, 0xfc, -1, 0, "-n0", 0, 0, 0},
    {"alu", "std", 0, 0xfd, -1, 0, "-n0", 0, 0, 0},
    {"alu", "lahf", 0, 0x9f, -1, 0, "-n0", 0, 0, 0},
    {"alu", "sahf", 0, 0x9e, -1, 0, "-n0", 0, 0, 0},
    {"muldiv", "mul", 0, 0xf6, 4, 0, "Eb0", 0, 0, 0},
    {"muldiv", "mul", 0, 0xf7, 4, 0, "Ev0", 0, 0, 0},
    {"muldiv", "imul", 0, 0xf6, 5, 0, "Eb0", 0, 0, 0},
    {"muldiv", "imul", 0, 0xf7, 5, 0, "Ev0", 0, 0, 0},
    {"muldiv", "div", 0, 0xf6, 6, 0, "Eb0", SP_DIV, 0, 0},
    {"muldiv", "div", 0, 0xf7, 6, 0, "Ev0", SP_DIV, 0, 0},
    {"muldiv", "idiv", 0, 0xf6, 7, 0, "Eb0", SP_DIV, 0, 0},
    {"muldiv", "idiv", 0, 0xf7, 7, 0, "Ev0", SP_DIV, 0, 0},
    {"muldiv", "imul", 1, 0xaf, -1, 0, "Ev0", 0, 0, 0},
    {"muldiv", "imul", 0, 0x69, -1, 0, "Evz", 0, 0, 0},
    {"muldiv", "imul", 0, 0x6b, -1, 0, "Ev1", 0, 0, 0},
    {"shift", "shld", 1, 0xa4, -1, 0, "Ev1", 0, 0, 0},
    {"shift", "shld", 1, 0xa5, -1, 0, "Ev0", SP_SHIFT, 0, 0},
    {"shift", "shrd", 1, 0xac, -1, 0, "Ev1", 0, 0, 0},
    {"shift", "shrd", 1, 0xad, -1, 0, "Ev0", SP_SHIFT, 0, 0},
    {"bit", "bt", 1, 0xa3, -1, 0, "Ev0", SP_BT, 0, 0},
    {"bit", "bts", 1, 0xab, -1, 0, "Ev0", SP_BT, LOCKABLE, 0},
    {"bit", "btr", 1, 0xb3, -1, 0, "Ev0", SP_BT, LOCKABLE, 0},
    {"bit", "btc", 1, 0xbb, -1, 0, "Ev0", SP_BT, LOCKABLE, 0},
    {"bit", "bt", 1, 0xba, 4, 0, "Ev1", 0, 0, 0},
    {"bit", "bts", 1, 0xba, 5, 0, "Ev1", 0, LOCKABLE, 0},
    {"bit", "btr", 1, 0xba, 6, 0, "Ev1", 0, LOCKABLE, 0},
    {"bit", "btc", 1, 0xba, 7, 0, "Ev1", 0, LOCKABLE, 0},
    {"bit", "bsf", 1, 0xbc, -1, 0, "Ev0", 0, 0, 0},
    {"bit", "bsr", 1, 0xbd, -1, 0, "Ev0", 0, 0, 0},
    {"bit", "tzcnt", 1, 0xbc, -1, 0xf3, "Ev0", 0, 0, 0},
    {"bit", "lzcnt", 1, 0xbd, -1, 0xf3, "Ev0", 0, 0, 0},
    {"bit", "popcnt", 1, 0xb8, -1, 0xf3, "Ev0", 0, 0, 0},
    {"bit", "crc32", 2, 0xf0, -1, 0xf2, "Eb0", 0, 0, 0},
    {"bit", "crc32", 2, 0xf1, -1, 0xf2, "Ev0", 0, 0, 0},
    {"vex", "andn", 2, 0xf2, -1, 0, "Ey0", 0, VEXV, 0},
    {"vex", "blsr", 2, 0xf3, 1, 0, "Ey0", 0, VEXV, 0},
    {"vex", "blsmsk", 2, 0xf3, 2, 0, "Ey0", 0, VEXV, 0},
    {"vex", "blsi", 2, 0xf3, 3, 0, "Ey0", 0, VEXV, 0},
    {"vex", "bzhi", 2, 0xf5, -1, 0, "Ey0", SP_SMALLV, VEXV, 0},
    {"vex", "pext", 2, 0xf5, -1, 0xf3, "Ey0", 0, VEXV, 0},
    {"vex", "pdep", 2, 0xf5, -1, 0xf2, "Ey0", 0, VEXV, 0},
    {"vex", "mulx", 2, 0xf6, -1, 0xf2, "Ey0", 0, VEXV, 0},
    {"vex", "bextr", 2, 0xf7, -1, 0, "Ey0", SP_SMALLV, VEXV, 0},
    {"vex", "shlx", 2, 0xf7, -1, 0x66, "Ey0", 0, VEXV, 0},
    {"vex", "sarx", 2, 0xf7, -1, 0xf3, "Ey0", 0, VEXV, 0},
    {"vex", "shrx", 2, 0xf7, -1, 0xf2, "Ey0", 0, VEXV, 0},
    {"vex", "rorx", 3, 0xf0, -1, 0xf2, "Ey1", 0, VEX, 0},
    {"bit", "bswap", 1, 0xc8, -1, 0, "Zy0", 0, 0, 0},
    {"move", "mov", 0, 0x88, -1, 0, "Eb0", 0, 0, 0},
    {"move", "mov", 0, 0x89, -1, 0, "Ev0", 0, 0, 0},
    {"move", "mov", 0, 0x8a, -1, 0, "Eb0", 0, 0, 0},
    {"move", "mov", 0, 0x8b, -1, 0, "Ev0", 0, 0, 0},
    {"move", "mov", 0, 0xc6, 0, 0, "Eb1", 0, 0, 0},
    {"move", "mov", 0, 0xc7, 0, 0, "Evz", 0, 0, 0},
    {"move", "mov", 0, 0xb0, -1, 0, "Zb1", 0, 0, 0},
    {"move", "mov", 0, 0xb8, -1, 0, "Zvv", 0, 0, 0},
    {"move", "mov", 0, 0xa0, -1, 0, "-b8", SP_MOFFS, AS32, 0},
    {"move", "mov", 0, 0xa1, -1, 0, "-v8", SP_MOFFS, AS32, 0},
    {"move", "mov", 0, 0xa2, -1, 0, "-b8", SP_MOFFS, AS32, 0},
    {"move", "mov", 0, 0xa3, -1, 0, "-v8", SP_MOFFS, AS32, 0},
    {"move", "mov-from-seg", 0, 0x8c, 1, 0, "Ev0", 0, 0, 2},
    {"move", "mov-from-seg", 0, 0x8c, 2, 0, "Ev0", 0, 0, 2},
    {"move", "mov-from-seg", 0, 0x8c, 3, 0, "Ev0", 0, 0, 2},
    {"move", "lea", 0, 0x8d, -1, 0, "Mv0", 0, 0, 0},
    {"move", "movsxd", 0, 0x63, -1, 0, "Ey0", 0, 0, 4},
    {"move", "movsxd", 0, 0x63, -1, 0, "Rw0", 0, 0, 0},
    {"move", "movzx8", 1, 0xb6, -1, 0, "Ev0", 0, 0, 1},
    {"move", "movzx16", 1, 0xb7, -1, 0, "Ev0", 0, 0, 2},
    {"move", "movsx8", 1, 0xbe, -1, 0, "Ev0", 0, 0, 1},
    {"move", "movsx16", 1, 0xbf, -1, 0, "Ev0", 0, 0, 2},
    {"move", "xchg", 0, 0x86, -1, 0, "Eb0", 0, LOCKABLE, 0},
    {"move", "xchg", 0, 0x87, -1, 0, "Ev0", 0, LOCKABLE, 0},
    {"move", "xchg", 0, 0x90, -1, 0, "Zv0", 0, 0, 0},
    {"move", "pause", 0, 0x90, -1, 0xf3, "-n0", 0, 0, 0},
    {"move", "cbw", 0, 0x98, -1, 0, "-v0", 0, 0, 0},
    {"move", "cwd", 0, 0x99, -1, 0, "-v0", 0, 0, 0},
    {"move", "xlat", 0, 0xd7, -1, 0, "-n0", SP_XLAT, AS32, 0},
    {"move", "movbe", 2, 0xf0, -1, 0, "Mv0", 0, 0, 0},
    {"move", "movbe", 2, 0xf1, -1, 0, "Mv0", 0, 0, 0},
    {"move", "movnti", 1, 0xc3, -1, 0, "My0", 0, 0, 0},
    {"move", "xadd", 1, 0xc0, -1, 0, "Eb0", 0, LOCKABLE, 0},
    {"move", "xadd", 1, 0xc1, -1, 0, "Ev0", 0, LOCKABLE, 0},
    {"move", "cmpxchg", 1, 0xb0, -1, 0, "Eb0", SP_CMPXCHG, LOCKABLE, 0},
    {"move", "cmpxchg", 1, 0xb1, -1, 0, "Ev0", SP_CMPXCHG, LOCKABLE, 0},
    {"move", "cmpxchg8b", 1, 0xc7, 1, 0, "Md0", SP_CMPXCHG, LOCKABLE, 8},
    {"move", "cmpxchg16b", 1, 0xc7, 1, 0, "Mq0", SP_CMPXCHG, LOCKABLE, 16},
    {"move", "rdgsbase", 1, 0xae, 1, 0xf3, "Ry0", 0, 0, 0},
    {"stack", "push", 0, 0x50, -1, 0, "Zs0", SP_STACK, 0, 0},
    {"stack", "pop", 0, 0x58, -1, 0, "Zs0", SP_STACK, 0, 0},
    {"stack", "push", 0, 0x68, -1, 0, "-sz", SP_STACK, 0, 0},
    {"stack", "push", 0, 0x6a, -1, 0, "-s1", SP_STACK, 0, 0},
    {"stack", "push", 0, 0xff, 6, 0, "Es0", SP_STACK, 0, 0},
    {"stack", "pop", 0, 0x8f, 0, 0, "Es0", SP_STACK, 0, 0},
    {"stack", "pushf", 0, 0x9c, -1, 0, "-s0", SP_STACK, 0, 0},
    {"stack", "popf", 0, 0x9d, -1, 0, "-s0", SP_POPF, 0, 0},
    {"stack", "push-fs", 1, 0xa0, -1, 0, "-s0", SP_STACK, 0, 0},
    {"stack", "push-gs", 1, 0xa8, -1, 0, "-s0", SP_STACK, 0, 0},
    {"stack", "enter", 0, 0xc8, -1, 0, "-s3", SP_ENTER, 0, 0},
    {"stack", "leave", 0, 0xc9, -1, 0, "-s0", SP_LEAVE, 0, 0},
    {"branch", "call", 0, 0xe8, -1, 0, "-n4", SP_JUMP, JUMP, 0},
    {"branch", "jmp", 0, 0xe9, -1, 0, "-n4", SP_JUMP, JUMP, 0},
    {"branch", "jmp", 0, 0xeb, -1, 0, "-n1", SP_JUMP, JUMP, 0},
    {"branch", "call", 0, 0xff, 2, 0, "Eq0", SP_JUMP_IND, JUMP, 8},
    {"branch", "jmp", 0, 0xff, 4, 0, "Eq0", SP_JUMP_IND, JUMP, 8},
    {"branch", "ret", 0, 0xc3, -1, 0, "-n0", SP_RET, JUMP, 0},
    {"branch", "ret", 0, 0xc2, -1, 0, "-n2", SP_RET, JUMP, 0},
    {"branch", "loopne", 0, 0xe0, -1, 0, "-n1", SP_LOOP, JUMP | AS32, 0},
    {"branch", "loope", 0, 0xe1, -1, 0, "-n1", SP_LOOP, JUMP | AS32, 0},
    {"branch", "loop", 0, 0xe2, -1, 0, "-n1", SP_LOOP, JUMP | AS32, 0},
    {"branch", "jrcxz", 0, 0xe3, -1, 0, "-n1", SP_LOOP, JUMP | AS32, 0},
    {"string", "movs", 0, 0xa4, -1, 0, "-b0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "movs", 0, 0xa5, -1, 0, "-v0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "cmps", 0, 0xa6, -1, 0, "-b0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "cmps", 0, 0xa7, -1, 0, "-v0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "stos", 0, 0xaa, -1, 0, "-b0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "stos", 0, 0xab, -1, 0, "-v0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "lods", 0, 0xac, -1, 0, "-b0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "lods", 0, 0xad, -1, 0, "-v0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "scas", 0, 0xae, -1, 0, "-b0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"string", "scas", 0, 0xaf, -1, 0, "-v0", SP_STRING, REPS | REPS2 | AS32, 0},
    {"misc", "nop", 1, 0x1f, 0, 0, "Ev0", 0, 0, 0},
    {"misc", "prefetch", 1, 0x18, 0, 0, "Mn0", 0, 0, 1},
    {"misc", "prefetch", 1, 0x18, 1, 0, "Mn0", 0, 0, 1},
    {"misc", "prefetch", 1, 0x18, 2, 0, "Mn0", 0, 0, 1},
    {"misc", "prefetch", 1, 0x18, 3, 0, "Mn0", 0, 0, 1},
    {"misc", "prefetchw", 1, 0x0d, 1, 0, "Mn0", 0, 0, 1},
    {"misc", "endbr64", 1, 0x1e, 7, 0xf3, "Rd0", 0, 0, 0},
    {"misc", "lfence", 1, 0xae, 5, 0, "Rn0", 0, 0, 0},
    {"misc", "mfence", 1, 0xae, 6, 0, "Rn0", 0, 0, 0},
    {"misc", "sfence", 1, 0xae, 7, 0, "Rn0", 0, 0, 0},
    {"misc", "clflush", 1, 0xae, 7, 0, "Mn0", 0, 0, 1},
    {"misc", "clflushopt", 1, 0xae, 7, 0x66, "Mn0", 0, 0, 1},
    {"misc", "clwb", 1, 0xae, 6, 0x66, "Mn0", 0, 0, 1},
    {"misc", "ldmxcsr", 1, 0xae, 2, 0, "Mn0", SP_LDMXCSR, 0, 4},
    {"misc", "stmxcsr", 1, 0xae, 3, 0, "Mn0", 0, 0, 4},
    {"misc", "fxsave", 1, 0xae, 0, 0, "Mn0", SP_FXSAVE, 0, 255},
    {"misc", "fxsave64", 1, 0xae, 0, 0, "Mq0", SP_FXSAVE, 0, 255},
    {"misc", "fxrstor", 1, 0xae, 1, 0, "Mn0", SP_FXRSTOR, 0, 255},
    {"misc", "fxrstor64", 1, 0xae, 1, 0, "Mq0", SP_FXRSTOR, 0, 255},
    {"misc", "ud0", 1, 0xff, -1, 0, "Ed0", 0, 0, 0},
    {"misc", "ud1", 1, 0xb9, -1, 0, "Ed0", 0, 0, 0},
    {"misc", "ud2", 1, 0x0b, -1, 0, "-n0", 0, 0, 0},
    /* privileged: #GP (some #UD) in user mode */
    {"privileged", "in", 0, 0xe4, -1, 0, "-b1", 0, 0, 0},
    {"privileged", "in", 0, 0xe5, -1, 0, "-v1", 0, 0, 0},
    {"privileged", "out", 0, 0xe6, -1, 0, "-b1", 0, 0, 0},
    {"privileged", "out", 0, 0xe7, -1, 0, "-v1", 0, 0, 0},
    {"privileged", "in", 0, 0xec, -1, 0, "-b0", 0, 0, 0},
    {"privileged", "in", 0, 0xed, -1, 0, "-v0", 0, 0, 0},
    {"privileged", "out", 0, 0xee, -1, 0, "-b0", 0, 0, 0},
    {"privileged", "out", 0, 0xef, -1, 0, "-v0", 0, 0, 0},
    {"privileged", "ins", 0, 0x6c, -1, 0, "-b0", SP_STRING, 0, 0},
    {"privileged", "ins", 0, 0x6d, -1, 0, "-v0", SP_STRING, 0, 0},
    {"privileged", "outs", 0, 0x6e, -1, 0, "-b0", SP_STRING, 0, 0},
    {"privileged", "outs", 0, 0x6f, -1, 0, "-v0", SP_STRING, 0, 0},
    {"privileged", "hlt", 0, 0xf4, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "cli", 0, 0xfa, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "sti", 0, 0xfb, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "lldt", 1, 0x00, 2, 0, "Ed0", 0, 0, 2},
    {"privileged", "ltr", 1, 0x00, 3, 0, "Ed0", 0, 0, 2},
    {"privileged", "lgdt", 1, 0x01, 2, 0, "Mn0", 0, 0, 10},
    {"privileged", "lidt", 1, 0x01, 3, 0, "Mn0", 0, 0, 10},
    {"privileged", "lmsw", 1, 0x01, 6, 0, "Ed0", 0, 0, 2},
    {"privileged", "invlpg", 1, 0x01, 7, 0, "Mn0", 0, 0, 1},
    {"privileged", "clts", 1, 0x06, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "sysret", 1, 0x07, -1, 0, "-y0", 0, 0, 0},
    {"privileged", "invd", 1, 0x08, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "wbinvd", 1, 0x09, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "mov-from-cr", 1, 0x20, 0, 0, "Rn0", 0, 0, 0},
    {"privileged", "mov-from-cr", 1, 0x20, 2, 0, "Rn0", 0, 0, 0},
    {"privileged", "mov-from-cr", 1, 0x20, 3, 0, "Rn0", 0, 0, 0},
    {"privileged", "mov-from-cr", 1, 0x20, 4, 0, "Rn0", 0, 0, 0},
    {"privileged", "mov-from-dr", 1, 0x21, 6, 0, "Rn0", 0, 0, 0},
    {"privileged", "mov-to-cr", 1, 0x22, 0, 0, "Rn0", 0, 0, 0},
    {"privileged", "mov-to-cr", 1, 0x22, 3, 0, "Rn0", 0, 0, 0},
    {"privileged", "mov-to-dr", 1, 0x23, 7, 0, "Rn0", 0, 0, 0},
    {"privileged", "wrmsr", 1, 0x30, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "rdmsr", 1, 0x32, -1, 0, "-n0", 0, 0, 0},
    {"privileged", "rsm", 1, 0xaa, -1, 0, "-n0", 0, 0, 0},
};

/* One-byte opcodes that 64-bit mode does not have. */
static const uint8_t gone[] = {0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60,
                               0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea};

typedef struct LeftOut {
    uint8_t map, first, last;
    uint8_t prefix; /* 1: any */
    const char *why;
} LeftOut;

static const LeftOut left_out[] = {
    {0, 0x62, 0x62, 1, "EVEX: the host has AVX-512, no model of the interpreter has"},
    {0, 0x8e, 0x8e, 1, "MOV to a segment register: the two worlds have different descriptor tables"},
    {0, 0xca, 0xcb, 1, "RETF: far transfers depend on the descriptor tables"},
    {0, 0xcc, 0xcd, 1, "INT3, INT n: delivered through the IDT; INT 80h is a system call of the host"},
    {0, 0xcf, 0xcf, 1, "IRET: depends on the descriptor tables"},
    {0, 0xf1, 0xf1, 1, "INT1: a debug exception, which the host's kernel keeps"},
    {0, 0xc4, 0xc5, 1, "VEX prefixes: counted as maps of their own"},
    {1, 0x01, 0x01, 1, "group 7: SGDT, SIDT, SMSW are emulated under UMIP; the rest is system state"},
    {1, 0x02, 0x03, 1, "LAR, LSL: depend on the descriptor tables"},
    {1, 0x05, 0x05, 1, "SYSCALL is one"},
    {1, 0x0d, 0x0d, 1, "PREFETCH hints but /1: no visible effect"},
    {1, 0x0f, 0x0f, 1, "3DNow!: gone"},
    {1, 0x18, 0x1f, 1, "hint NOPs but those tested"},
    {1, 0x2b, 0x2b, 0xf3, "MOVNTSS of AMD's SSE4A"},
    {1, 0x2b, 0x2b, 0xf2, "MOVNTSD of AMD's SSE4A"},
    {1, 0x31, 0x31, 1, "RDTSC: two clocks"},
    {1, 0x33, 0x33, 1, "RDPMC: the host's kernel decides"},
    {1, 0x34, 0x35, 1, "SYSENTER, SYSEXIT: AMD has them in legacy mode only, Intel everywhere"},
    {1, 0x37, 0x37, 1, "GETSEC"},
    {1, 0x78, 0x79, 1, "EXTRQ, INSERTQ of AMD's SSE4A; VMREAD and VMWRITE of Intel"},
    {1, 0xa1, 0xa1, 1, "POP FS: depends on the descriptor tables; it is the host's thread pointer"},
    {1, 0xa9, 0xa9, 1, "POP GS: depends on the descriptor tables"},
    {1, 0xa2, 0xa2, 1, "CPUID: two CPUs"},
    {1, 0xb2, 0xb2, 1, "LSS: depends on the descriptor tables"},
    {1, 0xb4, 0xb5, 1, "LFS, LGS: depend on the descriptor tables"},
    {1, 0xc7, 0xc7, 1, "group 9 but CMPXCHG8B and 16B: random numbers, VMX, XSAVEC and XSAVES"},
    {1, 0xae, 0xae, 1, "group 15 but those tested: XSAVE (components and optimisations differ), FSGSBASE writes"},
    {1, 0x38, 0x38, 1, "escape"},
    {1, 0x3a, 0x3a, 1, "escape"},
    {2, 0x80, 0x82, 1, "INVEPT, INVVPID, INVPCID: system"},
    {2, 0xf5, 0xf6, 1, "WRUSS, WRSS: shadow stacks, which the host has"},
    {2, 0xf8, 0xf9, 1, "MOVDIR64B, ENQCMD, MOVDIRI: the host has them, no model has"},
    {2, 0xfc, 0xfc, 1, "RAO-INT"},
    {3, 0xf0, 0xf0, 0xf3, "HRESET: the host may have it, no model has"},
};

static const char *left_out_why(unsigned map, unsigned opcode, unsigned prefix)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(left_out); i++) {
        const LeftOut *l = &left_out[i];
        if (l->map == map && opcode >= l->first && opcode <= l->last &&
            (l->prefix == 1 || l->prefix == prefix))
            return l->why;
    }
    return NULL;
}

/* ---- making the list -------------------------------------------------------------------- */

static Form *add(const Form *f, const char *mnemonic)
{
    Form *n = g_memdup2(f, sizeof *f);
    static const char *const maps[] = {"", "0f ", "0f38 ", "0f3a "};
    GString *s = g_string_new(NULL);
    if (f->lock)
        g_string_append(s, "lock ");
    if (f->rep)
        g_string_append(s, f->rep == 0xf3 ? "rep " : "repne ");
    g_string_append(s, mnemonic);
    if (f->size < 4)
        g_string_append_printf(s, ".%u", 8u << f->size);
    if (f->operand == OPERAND_REG || f->operand == OPERAND_MEM)
        g_string_append(s, f->operand == OPERAND_REG ? " reg" : " mem");
    if (f->as32)
        g_string_append(s, " a32");
    g_string_append(s, " [");
    if (f->vex)
        g_string_append_printf(s, "vex.%u.%c ", f->vex_l ? 256 : 128, f->vex_w ? '1' : '0');
    if (f->prefix)
        g_string_append_printf(s, "%02x ", f->prefix);
    g_string_append_printf(s, "%s%02x", maps[f->map], f->opcode);
    if (f->modrm >= 0)
        g_string_append_printf(s, " %02x", (unsigned)f->modrm);
    else if (f->ext >= 0)
        g_string_append_printf(s, " /%d", f->ext);
    g_string_append_c(s, ']');
    n->name = g_string_free(s, FALSE);
    n->undef = undef_find(mnemonic);
    g_ptr_array_add(forms, n);
    return n;
}

static void add_row(const Row *r)
{
    static const struct { char c; uint8_t sizes[4]; } sets[] = {
        {'b', {0, 9}}, {'w', {1, 9}}, {'d', {2, 9}}, {'q', {3, 9}}, {'v', {1, 2, 3, 9}},
        {'y', {2, 3, 9}}, {'s', {1, 3, 9}}, {'n', {4, 9}}};
    const uint8_t *sizes = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(sets); i++)
        if (sets[i].c == r->spec[1])
            sizes = sets[i].sizes;
    for (; *sizes != 9; sizes++) {
        Form f = {.group = r->group, .map = r->map, .opcode = r->opcode, .ext = r->ext, .modrm = -1,
                  .prefix = r->prefix, .size = *sizes, .special = r->special,
                  .jump = r->flags & JUMP, .vex = r->flags & (VEX | VEXV), .vex_v = r->flags & VEXV,
                  .vex_w = *sizes == 3};
        f.bytes = r->bytes ? r->bytes : f.size < 4 ? (uint8_t)(1 << f.size) : 1;
        char i = r->spec[2];
        f.imm = i == 'z' ? (f.size == 1 ? 2 : 4) : i == 'v' ? (uint8_t)(1 << f.size) : (uint8_t)(i - '0');
        for (unsigned as32 = 0; as32 <= ((r->flags & AS32) != 0); as32++) {
            f.as32 = as32;
            if (r->special == SP_MOFFS)
                f.imm = as32 ? 4 : 8;
            for (unsigned mem = 0; mem < 2; mem++) {
                char k = r->spec[0];
                if ((k == 'M' && !mem) || (k == 'R' && mem) || ((k == 'Z' || k == '-') && mem))
                    continue;
                f.operand = k == 'Z' ? OPERAND_OPREG : k == '-' ? OPERAND_NONE
                            : mem ? OPERAND_MEM : OPERAND_REG;
                f.lock = false;
                f.rep = 0;
                add(&f, r->name);
                if (mem && (r->flags & LOCKABLE)) {
                    f.lock = true;
                    add(&f, r->name);
                    f.lock = false;
                }
                if (r->flags & REPS) {
                    f.rep = 0xf3;
                    add(&f, r->name);
                }
                if (r->flags & REPS2) {
                    f.rep = 0xf2;
                    add(&f, r->name);
                }
            }
        }
    }
}

static void add_regular(void)
{
    static const char *const alu[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
    static const char *const shifts[] = {"rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"};
    static const char *const cc[] = {"o", "no", "b", "ae", "e", "ne", "be", "a",
                                     "s", "ns", "p", "np", "l", "ge", "le", "g"};
    for (unsigned k = 0; k < 8; k++) {
        unsigned lockable = k < 7 ? LOCKABLE : 0;
        uint8_t o = (uint8_t)(k * 8);
        const Row r[] = {
            {"alu", alu[k], 0, o, -1, 0, "Eb0", 0, lockable, 0},
            {"alu", alu[k], 0, o + 1, -1, 0, "Ev0", 0, lockable, 0},
            {"alu", alu[k], 0, o + 2, -1, 0, "Eb0", 0, 0, 0},
            {"alu", alu[k], 0, o + 3, -1, 0, "Ev0", 0, 0, 0},
            {"alu", alu[k], 0, o + 4, -1, 0, "-b1", 0, 0, 0},
            {"alu", alu[k], 0, o + 5, -1, 0, "-vz", 0, 0, 0},
            {"alu", alu[k], 0, 0x80, (int8_t)k, 0, "Eb1", 0, lockable, 0},
            {"alu", alu[k], 0, 0x81, (int8_t)k, 0, "Evz", 0, lockable, 0},
            {"alu", alu[k], 0, 0x83, (int8_t)k, 0, "Ev1", 0, lockable, 0},
            {"shift", shifts[k], 0, 0xc0, (int8_t)k, 0, "Eb1", 0, 0, 0},
            {"shift", shifts[k], 0, 0xc1, (int8_t)k, 0, "Ev1", 0, 0, 0},
            {"shift", shifts[k], 0, 0xd0, (int8_t)k, 0, "Eb0", 0, 0, 0},
            {"shift", shifts[k], 0, 0xd1, (int8_t)k, 0, "Ev0", 0, 0, 0},
            {"shift", shifts[k], 0, 0xd2, (int8_t)k, 0, "Eb0", SP_SHIFT, 0, 0},
            {"shift", shifts[k], 0, 0xd3, (int8_t)k, 0, "Ev0", SP_SHIFT, 0, 0},
        };
        for (unsigned i = 0; i < G_N_ELEMENTS(r); i++)
            add_row(&r[i]);
    }
    for (unsigned k = 0; k < 16; k++) {
        char name[3][12];
        g_snprintf(name[0], sizeof name[0], "j%s", cc[k]);
        g_snprintf(name[1], sizeof name[1], "set%s", cc[k]);
        g_snprintf(name[2], sizeof name[2], "cmov%s", cc[k]);
        const Row r[] = {
            {"branch", name[0], 0, (uint8_t)(0x70 + k), -1, 0, "-n1", SP_JUMP, JUMP, 0},
            {"branch", name[0], 1, (uint8_t)(0x80 + k), -1, 0, "-n4", SP_JUMP, JUMP, 0},
            {"move", name[1], 1, (uint8_t)(0x90 + k), 0, 0, "Eb0", 0, 0, 0},
            {"move", name[2], 1, (uint8_t)(0x40 + k), -1, 0, "Ev0", 0, 0, 0},
        };
        for (unsigned i = 0; i < G_N_ELEMENTS(r); i++)
            add_row(&r[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(gone); i++) {
        Form f = {.group = "undefined", .opcode = gone[i], .ext = -1, .modrm = -1, .size = 4,
                  .undefined = true, .imm = 4};
        add(&f, "gone");
    }
}

static bool integer_opcode(unsigned map, unsigned opcode)
{
    if (map == 1)
        return opcode < 0x10 || (opcode >= 0x18 && opcode < 0x28) || (opcode >= 0x30 && opcode < 0x50) ||
               (opcode >= 0x80 && opcode < 0xc2) || opcode == 0xc3 || (opcode >= 0xc7 && opcode < 0xd0) ||
               opcode == 0xff;
    return map == 2 && opcode >= 0xf0;
}

/* Undefined opcodes of the integer part of the maps. */
static bool integer_undefined(unsigned map, unsigned opcode)
{
    static const uint8_t list[] = {0x04, 0x0a, 0x0c, 0x0e, 0x24, 0x25, 0x26, 0x27, 0x36, 0x39, 0x3b, 0x3c,
                                   0x3d, 0x3e, 0x3f, 0xa6, 0xa7};
    for (unsigned i = 0; map == 1 && i < G_N_ELEMENTS(list); i++)
        if (list[i] == opcode)
            return true;
    return map == 2 && opcode >= 0xf2 && opcode != 0xf6;
}

static void add_vector(unsigned map, unsigned prefix, unsigned opcode)
{
    static const uint8_t with_w[] = {0x2a, 0x2c, 0x2d, 0x6e, 0x7e, 0xc4, 0xc5, 0x50, 0xd7};
    static const uint8_t with_w3a[] = {0x14, 0x15, 0x16, 0x17, 0x20, 0x22};
    bool group = map == 1 && opcode >= 0x71 && opcode <= 0x73;
    bool wide = false;
    for (unsigned i = 0; map == 1 && i < sizeof with_w; i++)
        wide |= with_w[i] == opcode;
    for (unsigned i = 0; map == 3 && i < sizeof with_w3a; i++)
        wide |= with_w3a[i] == opcode;
    for (unsigned ext = 0; ext < (group ? 8u : 1u); ext++) {
        for (unsigned mem = 0; mem < 2; mem++) {
            unsigned modrm = (mem ? 0 : 0xc0) | (group ? ext << 3 : 0), bytes = 16, imm = map == 3;
            bool aligned = false, fp = false;
            const char *name = guest_vector_name(map, prefix, (uint8_t)opcode, modrm, &bytes, &aligned,
                                                 &fp, &imm);
            Form f = {.group = name ? map == 1 ? "vector-0f" : map == 2 ? "vector-0f38" : "vector-0f3a"
                                    : "undefined",
                      .map = (uint8_t)map, .opcode = (uint8_t)opcode, .modrm = -1,
                      .ext = group ? (int8_t)ext : -1, .prefix = (uint8_t)prefix, .size = 4,
                      .operand = mem ? OPERAND_MEM : OPERAND_REG, .imm = (uint8_t)imm,
                      .bytes = (uint8_t)bytes, .fp = fp, .undefined = !name};
            if (!name && group)
                f.imm = 1;
            if (opcode == 0x77 && map == 1 && !name)
                continue; /* EMMS has no ModRM */
            if (name && strncmp(name, "maskmov", 7) == 0)
                f.special = SP_MASKMOV;
            else if (name && strncmp(name, "pcmp", 4) == 0 && (strstr(name, "str")))
                f.special = SP_PCMPSTR;
            else if (name && strncmp(name, "sha", 3) == 0)
                f.special = SP_ALIGNED;
            else if (aligned)
                f.special = SP_ALIGN16;
            if (name && strcmp(name, "emms") == 0) {
                if (mem)
                    continue;
                f.operand = OPERAND_NONE;
            }
            add(&f, name ? name : "none");
            if (wide && name) {
                f.size = 3;
                if (name[0] != 'p' || strstr(name, "rd") || strstr(name, "rq"))
                    f.bytes = (uint8_t)MAX(f.bytes, 8);
                add(&f, name);
            }
        }
    }
}

static void add_x87(void)
{
    for (unsigned op = 0xd8; op <= 0xdf; op++) {
        for (int reg = 0; reg < 8; reg++) {
            Form f = {.group = "x87", .opcode = (uint8_t)op, .ext = (int8_t)reg, .modrm = -1, .size = 4,
                      .operand = OPERAND_MEM, .bytes = 10, .special = SP_X87, .fp = true};
            if ((op == 0xd9 && (reg == 4 || reg == 5)) || (op == 0xdd && reg == 4))
                f.special = SP_FLDENV;
            if ((op == 0xd9 && (reg == 4 || reg == 6)) || (op == 0xdd && (reg == 4 || reg == 6))) {
                f.bytes = 108;
                add(&f, "fpu");
                f.size = 1;
            }
            add(&f, "fpu");
        }
        for (int modrm = 0xc0; modrm < 0x100; modrm++) {
            Form f = {.group = "x87", .opcode = (uint8_t)op, .ext = -1, .modrm = (int16_t)modrm, .size = 4,
                      .operand = OPERAND_REG, .special = SP_X87, .fp = true};
            add(&f, "fpu");
        }
    }
    Form f = {.group = "x87", .opcode = 0x9b, .ext = -1, .modrm = -1, .size = 4, .special = SP_X87};
    add(&f, "fwait");
}

/* Vector instructions behind VEX. */
static void add_avx(unsigned map, unsigned prefix, unsigned opcode)
{
    static const uint8_t with_w[] = {0x2a, 0x2c, 0x2d, 0x6e, 0x7e};
    bool group = map == 1 && opcode >= 0x71 && opcode <= 0x73;
    for (unsigned n = 0; n < (group ? 8u : 1u) * 8; n++) {
        unsigned ext = n >> 3, w = n >> 2 & 1, l = n >> 1 & 1, mem = n & 1;
        unsigned modrm = (mem ? 0 : 0xc0) | (group ? ext << 3 : 0), bytes = 16, imm = 0;
        bool aligned, fp = false, nds = false, gather, wide = map > 1;
        for (unsigned i = 0; map == 1 && i < sizeof with_w; i++)
            wide |= with_w[i] == opcode;
        if (w && !wide)
            continue;
        const char *name = guest_avx_name(map, prefix, (uint8_t)opcode, modrm, l, w, &bytes, &aligned, &fp,
                                          &imm, &nds, &gather);
        if (!name)
            continue;
        Form f = {.group = "avx", .map = (uint8_t)map, .opcode = (uint8_t)opcode, .modrm = -1,
                  .ext = group ? (int8_t)ext : -1, .prefix = (uint8_t)prefix, .size = 4,
                  .operand = mem ? OPERAND_MEM : OPERAND_REG, .imm = (uint8_t)imm,
                  .bytes = (uint8_t)bytes, .fp = fp, .vex = true, .vex_l = l, .vex_w = w, .vex_v = nds};
        if (opcode == 0x77 && map == 1) {
            if (mem)
                continue;
            f.operand = OPERAND_NONE;
        }
        if (strncmp(name, "maskmov", 7) == 0)
            f.special = SP_MASKMOV;
        else if (strncmp(name, "pcmp", 4) == 0 && strstr(name, "str"))
            f.special = SP_PCMPSTR;
        else if (gather)
            f.special = SP_GATHER;
        else if (aligned)
            f.special = SP_ALIGN16;
        g_autofree char *v = g_strconcat(name[0] == 'v' ? "" : "v", name, NULL);
        add(&f, v);
    }
}

void forms_make(void)
{
    forms = g_ptr_array_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        add_row(&rows[i]);
    add_regular();
    add_x87();
    static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned p = 0; p < 4; p++)
            for (unsigned op = 0; op < 256; op++)
                if (!left_out_why(map, op, prefixes[p]) &&
                    (!integer_opcode(map, op) || integer_undefined(map, op)))
                    add_vector(map, prefixes[p], op);
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned p = 0; p < 4; p++)
            for (unsigned op = 0; op < 256; op++)
                add_avx(map, prefixes[p], op);
    static const Row csr[] = {
        {"avx", "vldmxcsr", 1, 0xae, 2, 0, "Mn0", SP_LDMXCSR, VEX, 4},
        {"avx", "vstmxcsr", 1, 0xae, 3, 0, "Mn0", 0, VEX, 4},
    };
    add_row(&csr[0]);
    add_row(&csr[1]);
}

void coverage_print(void)
{
    static const char *const names[] = {"one byte", "0F", "0F38", "0F3A", "VEX 0F", "VEX 0F38", "VEX 0F3A"};
    unsigned total = 0;
    for (unsigned map = 0; map < 7; map++) {
        unsigned count[256] = {0}, ud[256] = {0}, sum = 0;
        for (unsigned i = 0; i < forms->len; i++) {
            const Form *f = forms->pdata[i];
            if (f->map + (f->vex ? 3u : 0u) != map)
                continue;
            sum++;
            if (f->operand == OPERAND_OPREG)
                for (unsigned k = 0; k < 8; k++)
                    count[f->opcode + k]++;
            else if (f->undefined)
                ud[f->opcode]++;
            else
                count[f->opcode]++;
        }
        printf("\nMap %s: %u forms   (# tested, u shown to be #UD, - left out)\n   ", names[map], sum);
        for (unsigned i = 0; i < 16; i++)
            printf(" %x", i);
        for (unsigned op = 0; op < 256; op++) {
            bool prefix = map == 0 && ((op & 0xf0) == 0x40 || op == 0x26 || op == 0x2e || op == 0x36 ||
                                       op == 0x3e || (op >= 0x64 && op <= 0x67) || op == 0xf0 ||
                                       op == 0xf2 || op == 0xf3 || op == 0x0f);
            if (op % 16 == 0)
                printf("\n  %x", op >> 4);
            printf(" %c", count[op] ? '#' : ud[op] ? 'u' : prefix ? 'p' : '-');
        }
        printf("\n");
        total += map < 4 ? sum : 0;
        for (unsigned i = 0; i < G_N_ELEMENTS(left_out); i++) {
            const LeftOut *l = &left_out[i];
            if (l->map != map)
                continue;
            printf("  left out: ");
            if (l->prefix > 1)
                printf("%02X ", l->prefix);
            printf("%02X", l->first);
            if (l->last != l->first)
                printf("..%02X", l->last);
            printf("  %s\n", l->why);
        }
    }
    printf("\n%u forms in all (%u with VEX).\n", forms->len, forms->len - total);
    printf("Left out of VEX: what the host has and no model (VAES, VPCLMULQDQ, AVX-VNNI,\n"
           "AVX-IFMA), and the proof that the holes of its maps are #UD.\n");
    printf("Left out of every form: TF and AC (the host's kernel acts on them), FS-relative operands\n"
           "(the host's thread pointer), 16-bit and 32-bit code, RF (part of the image that an exception\n"
           "pushes, not of the instruction).\n");
}

/*
 * core/space.c, map.c, reader.c: placements, size fix-up, blocks, and maps that
 * change under readers; and a random machine against a byte-by-byte oracle.
 */
#include "runtimefixture.h"

/* A device whose bytes are memory, and which notes what its handlers were given. */
typedef struct Pad {
    VmrDevice base;
    uint8_t bytes[4096];
    unsigned reads, writes;
    struct {
        uint64_t offset, value;
        unsigned size;
    } last[16]; /* writes, and reads (value 0), the newest last */
    unsigned notes;
    int initiator;
    bool bad; /* a size or an offset that the table forbids */
    const VmrRegion *region;
    uint64_t chain; /* if set: the address of itself to write to from its handler */
    unsigned depth;
} Pad;

static void note(Pad *p, unsigned n, uint64_t offset, uint64_t value, unsigned size)
{
    const VmrRegion *r = &p->base.klass->regions[n];
    unsigned min = r->impl_min ? r->impl_min : 1, max = r->impl_max ? r->impl_max : 8;
    if (size < min || size > max || offset % size || offset + size > r->size)
        p->bad = true;
    if (p->notes < G_N_ELEMENTS(p->last)) {
        p->last[p->notes].offset = offset;
        p->last[p->notes].value = value;
        p->last[p->notes++].size = size;
    }
    p->initiator = vmr_initiator(&p->base);
}

#define PAD_REGION(n_)                                                                             \
    static uint64_t read##n_(VmrDevice *dev, uint64_t offset, unsigned size)                       \
    {                                                                                              \
        Pad *p = (Pad *)dev;                                                                       \
        uint64_t v = 0;                                                                            \
        p->reads++;                                                                                \
        note(p, n_, offset, 0, size);                                                              \
        memcpy(&v, p->bytes + offset % 4096, size);                                                \
        return v;                                                                                  \
    }                                                                                              \
    static void write##n_(VmrDevice *dev, uint64_t offset, uint64_t value, unsigned size)          \
    {                                                                                              \
        Pad *p = (Pad *)dev;                                                                       \
        p->writes++;                                                                               \
        note(p, n_, offset, value, size);                                                          \
        memcpy(p->bytes + offset % 4096, &value, size);                                            \
        if (p->chain) {                                                                            \
            uint64_t two[2] = {1, 2};                                                              \
            vmr_dma_write(dev, p->chain, two, sizeof two);                                         \
        }                                                                                          \
    }
PAD_REGION(0)
PAD_REGION(1)
PAD_REGION(2)
PAD_REGION(3)

static const VmrRegion pad_regions[] = {
    {.name = "any", .kind = VMR_REGION_MMIO, .size = 4096, .read = read0, .write = write0},
    {.name = "bytes", .kind = VMR_REGION_PIO, .size = 8, .impl_max = 1, .read = read1,
     .write = write1},
    {.name = "words", .kind = VMR_REGION_MMIO, .size = 4096, .impl_min = 4, .impl_max = 4,
     .read = read2, .write = write2, .flags = VMR_REGION_OVERLAY},
    {.name = "strict", .kind = VMR_REGION_MMIO, .size = 4096, .valid_min = 2, .valid_max = 4,
     .read = read3, .write = write3, .flags = VMR_REGION_CONCURRENT},
    {0}};

static const VmrDeviceClass pad_class = {.size = sizeof(VmrDeviceClass), .id = "pad",
                                         .instance_size = sizeof(Pad), .regions = pad_regions};

static uint64_t get(VmrSpace *s, uint64_t a, unsigned size)
{
    uint64_t v = 0x5555;
    vmr_space_read(s, a, &v, size, 0);
    return v;
}

static void test_ram_rom(void)
{
    Fixture *f = fixture_new(1);
    VmrSpace *s = f->m->memory;
    uint64_t v;
    g_assert_cmpint(vmr_space_write(s, 0x1001, 0x8877665544332211, 8, 0), ==, VMR_OK);
    g_assert_cmphex(get(s, 0x1001, 8), ==, 0x8877665544332211);
    g_assert_cmphex(get(s, 0x1002, 4), ==, 0x55443322);
    /* The end of RAM: what is behind reads as ones. */
    g_assert_cmpint(vmr_space_write(s, 0xffffe, 0xabcd1234, 4, 0), ==, VMR_ERR_UNASSIGNED);
    g_assert_cmpint(vmr_space_read(s, 0xffffe, &v, 4, 0), ==, VMR_ERR_UNASSIGNED);
    g_assert_cmphex(v, ==, 0xffff1234);
    g_assert_cmpint(vmr_space_read(s, UINT64_MAX, &v, 2, 0), ==, VMR_ERR_UNASSIGNED);
    g_assert_cmphex(v, ==, 0xffff);
    g_assert_cmphex(get(f->m->io, 0xffff, 4), ==, 0xffffffff);

    uint64_t rom = vmr_ram_take(&f->m->ram, 4096);
    f->m->ram.base[rom] = 0x42;
    VmrPlacement p = {.label = "rom", .base = 0x2000, .size = 4096, .priority = 2,
                      .range = {.kind = VMR_RANGE_ROM, .host = f->m->ram.base + rom,
                                .ram_offset = rom}};
    g_assert_cmpuint(vmr_space_place(s, &p, NULL), !=, 0);
    vmr_space_commit(s);
    g_assert_cmpint(vmr_space_write(s, 0x1fff, 0xffff, 2, 0), ==, VMR_OK);
    g_assert_cmphex(get(s, 0x1fff, 2), ==, 0x42ff);
    fixture_free(f);
}

static void test_fix_up(void)
{
    Fixture *f = fixture_new(1);
    VmrSpace *s = f->m->memory;
    Pad *p = fixture_device(f, &pad_class, "pad");
    g_assert_cmpuint(fixture_place(f, s, p, 2, 0x200000, NULL), !=, 0);
    g_assert_cmpuint(fixture_place(f, s, p, 3, 0x300000, NULL), !=, 0);
    g_assert_cmpuint(fixture_place(f, f->m->io, p, 1, 0x3f8, NULL), !=, 0);
    vmr_space_commit(s);
    vmr_space_commit(f->m->io);

    /* Split: a wide access to byte registers, ascending. */
    vmr_space_write(f->m->io, 0x3f9, 0x44332211, 4, 0);
    g_assert_cmpuint(p->notes, ==, 4);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmpuint(p->last[i].offset, ==, 1 + i);
        g_assert_cmphex(p->last[i].value, ==, 0x11 * (i + 1));
    }
    g_assert_cmphex(get(f->m->io, 0x3f9, 4), ==, 0x44332211);
    g_assert_cmpint(p->initiator, ==, 0);

    /* Widen: a byte of a word register. */
    p->notes = 0;
    vmr_space_write(s, 0x200006, 0xab, 1, 0);
    g_assert_cmpuint(p->notes, ==, 1);
    g_assert_cmpuint(p->last[0].offset, ==, 4);
    g_assert_cmphex(p->last[0].value, ==, 0xab0000);
    g_assert_cmpuint(p->reads, ==, 4); /* no read for a write */
    g_assert_cmphex(get(s, 0x200006, 1), ==, 0xab);

    /* Unaligned over two words. */
    memcpy(p->bytes, "\0\1\2\3\4\5\6\7", 8);
    p->notes = 0;
    g_assert_cmphex(get(s, 0x200003, 4), ==, 0x06050403);
    g_assert_cmpuint(p->notes, ==, 2);
    g_assert_cmphex(get(s, 0x200001, 8) & 0xffffffffffffff, ==, 0x07060504030201);

    /* Not valid: nothing reaches the device. */
    p->notes = 0;
    uint64_t v;
    g_assert_cmpint(vmr_space_read(s, 0x300000, &v, 1, 0), ==, VMR_ERR_ACCESS);
    g_assert_cmphex(v, ==, 0xff);
    g_assert_cmpint(vmr_space_write(s, 0x300000, 1, 8, 0), ==, VMR_ERR_ACCESS);
    g_assert_cmpuint(p->notes, ==, 0);
    g_assert_cmpint(vmr_space_read(s, 0x300001, &v, 4, 0), ==, VMR_OK);
    g_assert_cmphex(v, ==, 0x04030201);
    g_assert_false(p->bad);
    fixture_free(f);
}

static void test_overlaps(void)
{
    Fixture *f = fixture_new(1);
    VmrSpace *s = f->m->memory;
    Pad *a = fixture_device(f, &pad_class, "a"), *b = fixture_device(f, &pad_class, "b");
    GError *error = NULL;
    memset(a->bytes, 0xaa, sizeof a->bytes);
    memset(b->bytes, 0xbb, sizeof b->bytes);
    unsigned id = fixture_place(f, s, a, 0, 0x10000, &error);
    g_assert_cmpuint(id, !=, 0);
    g_assert_cmpuint(fixture_place(f, s, b, 0, 0x10fff, &error), ==, 0);
    g_assert_nonnull(strstr(error->message, "0x10000-0x10fff"));
    g_clear_error(&error);
    unsigned overlay = fixture_place(f, s, b, 2, 0x10800, &error); /* wins over both */
    g_assert_no_error(error);
    g_assert_cmpuint(fixture_place(f, s, b, 0, UINT64_MAX - 100, &error), ==, 0);
    g_clear_error(&error);
    g_assert_cmpuint(fixture_place(f, f->m->io, b, 0, 0xf800, &error), ==, 0);
    g_clear_error(&error);
    vmr_space_commit(s);
    vmr_reader_enter(f->m);
    g_assert_cmpuint(vmr_space_map(s)->count, ==, 4); /* RAM, a, b, RAM */
    vmr_reader_leave(f->m);
    g_assert_cmphex(get(s, 0x107fe, 4), ==, 0xbbbbaaaa); /* cross-range */
    g_assert_cmphex(get(s, 0x117fe, 4), ==, 0x0000bbbb);
    vmr_space_enable(s, overlay, false);
    vmr_space_commit(s);
    g_assert_cmphex(get(s, 0x107fe, 4), ==, 0xaaaaaaaa);
    g_assert_true(vmr_space_move(s, id, UINT64_MAX - 4095, &error));
    vmr_space_commit(s);
    g_assert_cmphex(get(s, 0x10000, 4), ==, 0);
    g_assert_cmphex(get(s, UINT64_MAX - 1, 4), ==, 0xffffaaaa);
    g_assert_cmpuint(f->map_changes, ==, 4);
    fixture_free(f);
}

static void test_blocks(void)
{
    Fixture *f = fixture_new(1);
    VmrSpace *s = f->m->memory;
    Pad *p = fixture_device(f, &pad_class, "pad");
    fixture_place(f, s, p, 0, 0x100000, NULL);
    vmr_space_commit(s);
    uint8_t out[64], in[64];
    for (unsigned i = 0; i < 64; i++)
        out[i] = (uint8_t)(i + 1);
    g_assert_cmpint(vmr_dma_write(&p->base, 0x100000 - 13, out, 64), ==, VMR_OK);
    g_assert_cmpuint(f->ram_written, ==, 13);
    g_assert_cmpuint(f->ram_written_at, ==, 0x100000 - 13);
    g_assert_cmpint(p->initiator, ==, -1);
    g_assert_cmpint(vmr_dma_read(&p->base, 0x100000 - 13, in, 64), ==, VMR_OK);
    g_assert_cmpmem(in, 64, out, 64);
    g_assert_cmpint(vmr_dma_read(&p->base, 0x100fff, in, 3), ==, VMR_ERR_UNASSIGNED);
    g_assert_cmphex(in[1], ==, 0xff);
    g_assert_cmpint(vmr_dma_read(&p->base, UINT64_MAX, in, 2), ==, VMR_ERR_BOUNDS);
    /* No endless walk through nothing. */
    uint8_t *much = g_malloc(1 << 20);
    g_assert_cmpint(vmr_dma_read(&p->base, 0x80000000, much, 1 << 20), ==, VMR_ERR_BOUNDS);
    g_free(much);

    size_t len = 1 << 20;
    uint8_t *ram = vmr_dma_map(&p->base, 0xff000, &len, true);
    g_assert_nonnull(ram);
    g_assert_cmpuint(len, ==, 0x1000);
    f->ram_written = 0;
    vmr_dma_unmap(&p->base, ram, len, 5);
    g_assert_cmpuint(f->ram_written, ==, 5);
    len = 4;
    g_assert_null(vmr_dma_map(&p->base, 0x100000, &len, false));
    fixture_free(f);
}

static void test_dma_to_itself(void)
{
    Fixture *f = fixture_new(1);
    Pad *p = fixture_device(f, &pad_class, "pad");
    fixture_place(f, f->m->memory, p, 0, 0x100000, NULL);
    vmr_space_commit(f->m->memory);
    p->chain = 0x100010;
    vmr_space_write(f->m->memory, 0x100000, 1, 4, 0);
    /* 2 writes each, 8 deep */
    g_assert_cmpuint(p->writes, ==, 255);
    fixture_free(f);
}

/* ---- readers ---------------------------------------------------------- */

typedef struct Race {
    Fixture *f;
    bool stop;
    bool registered;
    unsigned wrong;
} Race;

static void *race_reader(void *data)
{
    Race *r = data;
    if (r->registered)
        vmr_reader_enter(r->f->m);
    for (unsigned i = 0; !__atomic_load_n(&r->stop, __ATOMIC_RELAXED); i++) {
        uint64_t v;
        vmr_space_read(r->f->m->memory, 0x200000 + i % 0x3000 / 4 * 4, &v, 4, 0);
        if (v != 0xaaaaaaaa && v != 0xffffffff)
            __atomic_add_fetch(&r->wrong, 1, __ATOMIC_RELAXED);
        if (r->registered && i % 64 == 0)
            vmr_reader_quiescent(r->f->m);
    }
    if (r->registered)
        vmr_reader_leave(r->f->m);
    return NULL;
}

static void test_move_under_readers(void)
{
    Race r = {.f = fixture_new(1)}, q;
    Pad *p = fixture_device(r.f, &pad_class, "pad");
    memset(p->bytes, 0xaa, sizeof p->bytes);
    unsigned id = fixture_place(r.f, r.f->m->memory, p, 3, 0x200000, NULL);
    vmr_space_commit(r.f->m->memory);
    q = r;
    q.registered = true;
    GThread *a = g_thread_new("a", race_reader, &r), *b = g_thread_new("b", race_reader, &q);
    for (unsigned i = 0; i < 5000; i++) {
        g_assert_true(vmr_space_move(r.f->m->memory, id, 0x200000 + i % 3 * 0x1000, NULL));
        vmr_space_commit(r.f->m->memory);
    }
    __atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
    __atomic_store_n(&q.stop, true, __ATOMIC_RELAXED);
    g_thread_join(a);
    g_thread_join(b);
    g_assert_cmpuint(r.wrong + q.wrong, ==, 0);
    fixture_free(r.f);
}

/* ---- against an oracle ------------------------------------------------ */

enum { WORLD = 0x8000, PADS = 6 };

/* Who answers for each byte: -1 nobody, 0 RAM, 1 + n pad n; by the same rules, said bytewise. */
static void test_oracle(void)
{
    GRand *rng = g_rand_new_with_seed(1);
    for (unsigned round = 0; round < 40; round++) {
        Fixture *f = fixture_new(1);
        VmrSpace *s = vmr_space_new(f->m, "oracle", 64);
        Pad *pads[PADS];
        uint64_t bases[PADS];
        static uint8_t ram_model[WORLD];
        memset(ram_model, 0, sizeof ram_model);
        VmrPlacement ram = {.label = "ram", .base = 0, .size = WORLD / 2,
                            .range = {.kind = VMR_RANGE_RAM, .host = f->m->ram.base}};
        g_assert_cmpuint(vmr_space_place(s, &ram, NULL), !=, 0);
        for (unsigned i = 0; i < PADS; i++) {
            pads[i] = fixture_device(f, &pad_class, "pad");
            bases[i] = (uint64_t)g_rand_int_range(rng, 0, WORLD - 4096) & ~7u;
            /* region 0 for some, the word-wide overlay for others */
            if (!fixture_place(f, s, pads[i], i % 2 ? 2 : 0, bases[i], NULL))
                bases[i] = UINT64_MAX;
        }
        vmr_space_commit(s);
        for (unsigned step = 0; step < 2000; step++) {
            unsigned size = 1u << g_rand_int_range(rng, 0, 4);
            uint64_t at = (uint64_t)g_rand_int_range(rng, 0, WORLD - 8);
            bool write = g_rand_boolean(rng);
            uint64_t v = (uint64_t)g_rand_int(rng) << 32 | (uint32_t)g_rand_int(rng);
            uint64_t want = 0;
            static uint8_t models[PADS][4096];
            for (unsigned i = 0; i < PADS; i++)
                memcpy(models[i], pads[i]->bytes, 4096);
            bool cleared[PADS][1024] = {{0}};
            for (unsigned k = 0; k < size; k++) {
                uint64_t a = at + k;
                int who = a < WORLD / 2 ? 0 : -1, priority = 0;
                for (int i = 0; i < PADS; i++)
                    if (bases[i] != UINT64_MAX && a >= bases[i] && a < bases[i] + 4096 &&
                        (i % 2 ? 2 : 1) >= priority) {
                        who = 1 + i;
                        priority = i % 2 ? 2 : 1;
                    }
                uint8_t *byte = who < 0 ? NULL : who == 0 ? &ram_model[a]
                                                          : &models[who - 1][a - bases[who - 1]];
                if (write && byte) {
                    if (who > 0 && (who - 1) % 2) { /* a narrow write zeroes the word's rest */
                        uint64_t word = (a - bases[who - 1]) / 4;
                        if (!cleared[who - 1][word])
                            memset(&models[who - 1][word * 4], 0, 4);
                        cleared[who - 1][word] = true;
                    }
                    *byte = (uint8_t)(v >> (k * 8));
                }
                want |= (uint64_t)(byte ? *byte : 0xff) << (k * 8);
            }
            if (write) {
                vmr_space_write(s, at, v, size, 0);
                for (unsigned i = 0; i < PADS; i++)
                    g_assert_cmpmem(models[i], 4096, pads[i]->bytes, 4096);
            } else {
                uint64_t got;
                vmr_space_read(s, at, &got, size, 0);
                g_assert_cmphex(got, ==, want);
            }
        }
        g_assert_cmpmem(ram_model, WORLD / 2, f->m->ram.base, WORLD / 2);
        for (unsigned i = 0; i < PADS; i++)
            g_assert_false(pads[i]->bad);
        vmr_space_free(s);
        fixture_free(f);
    }
    g_rand_free(rng);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/space/ram-rom", test_ram_rom);
    g_test_add_func("/space/fix-up", test_fix_up);
    g_test_add_func("/space/overlaps", test_overlaps);
    g_test_add_func("/space/blocks", test_blocks);
    g_test_add_func("/space/dma-to-itself", test_dma_to_itself);
    g_test_add_func("/space/move-under-readers", test_move_under_readers);
    g_test_add_func("/space/oracle", test_oracle);
    return g_test_run();
}

/*
 * test-qcow2 - qcow2 images that qemu-img has made are read as it reads them, and it finds in them
 * what was written; what is not supported is refused by name; damaged ones give errors.
 */
#include "core/block.h"
#include "imagefixture.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = (3 << 20) + 1536 };

static char *folder;
static uint8_t *content; /* what raw holds */

static char *in_folder(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static void run(const char *command)
{
    run_in(folder, command, 0);
}

static VmrBlock *open_how(const char *name, bool read_only, GError **error)
{
    VmrBlockOptions how = {.read_only = read_only, .lock = true};
    char *path = in_folder(name);
    VmrBlock *b = vmr_block_open(path, &how, error);
    g_free(path);
    return b;
}

static VmrBlock *open_image(const char *name, GError **error)
{
    return open_how(name, true, error);
}

static void expect(const char *name, const uint8_t *bytes)
{
    GError *error = NULL;
    VmrBlock *b = open_image(name, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(b->klass->name, ==, "qcow2");
    g_assert_cmpuint(b->size, ==, SIZE);
    uint8_t *got = g_malloc(SIZE);
    VmrBuffer all = {got, SIZE};
    g_assert_cmpint(b->klass->read(b, 0, SIZE, &all, 1), ==, 0);
    g_assert_true(!memcmp(got, bytes, SIZE));
    for (unsigned i = 0; i < 200; i++) {
        uint32_t at = pick(SIZE / 512), n = 1 + pick(MIN(SIZE / 512 - at, 300)), cut = 1 + pick(n * 512 - 1);
        VmrBuffer two[] = {{got, cut}, {got + cut, n * 512 - cut}};
        memset(got, 0x55, n * 512);
        g_assert_cmpint(b->klass->read(b, at * 512, n * 512, two, 2), ==, 0);
        g_assert_true(!memcmp(got, bytes + at * 512, n * 512));
    }
    g_free(got);
    vmr_block_close(b);
}

static void test_formats(void)
{
    static const char *const options[] = {
        "compat=1.1", "compat=0.10", "compat=1.1,cluster_size=512", "compat=1.1,cluster_size=2M",
        "compat=1.1,refcount_bits=1", "compat=1.1,refcount_bits=64,lazy_refcounts=on",
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        char *c = g_strdup_printf("qemu-img convert -f raw -O qcow2 -o %s raw image", options[i]);
        run(c);
        expect("image", content);
        g_free(c);
    }
    run("qemu-img convert -c -f raw -O qcow2 raw image");
    expect("image", content);
    run("qemu-img convert -c -f raw -O qcow2 -o cluster_size=4k raw image");
    expect("image", content);
}

static void test_zstd(void)
{
    GError *error = NULL;
    run("qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd raw image");
    VmrBlock *b = open_image("image", &error);
    vmr_block_close(b);
    if (!b && strstr(error->message, "built without"))
        g_test_skip(error->message);
    else
        expect("image", content);
    g_clear_error(&error);
}

static void test_backing(void)
{
    uint8_t *bytes = g_memdup2(content, SIZE);
    run("qemu-img convert -c -f raw -O qcow2 raw base");
    run("qemu-img create -q -f qcow2 -F qcow2 -b base -o cluster_size=4k middle");
    run("qemu-img create -q -f qcow2 -F qcow2 -b middle top");
    expect("top", bytes);
    run("qemu-io -c 'write -P 7 1000000 5120' -f qcow2 middle && qemu-io -c 'write -z 1M 128k' -f qcow2 top");
    memset(bytes + 1000000, 7, 5120);
    memset(bytes + (1 << 20), 0, 128 << 10);
    expect("top", bytes);
    /* A base that is raw, and shorter. */
    run("head -c 1000448 raw >short && qemu-img create -q -f qcow2 -F raw -b short top 3147264");
    memset(bytes, 0, SIZE);
    memcpy(bytes, content, 1000448);
    expect("top", bytes);
    g_free(bytes);
}

/* ---- what is written ---------------------------------------------------- */

typedef struct Writer {
    VmrBlock *b;
    uint8_t *bytes; /* what is to be there */
    uint64_t cluster;
} Writer;

/* Of a discard, whole clusters become zeros. */
static void model_discard(Writer *w, uint64_t offset, uint64_t length)
{
    uint64_t first = (offset + w->cluster - 1) / w->cluster * w->cluster, end = offset + length;
    if (end < SIZE)
        end = end / w->cluster * w->cluster;
    if (first < end)
        memset(w->bytes + first, 0, end - first);
}

/* One request at random, of a size that has to do with that of clusters. */
static void step(Writer *w)
{
    const VmrBlockClass *k = w->b->klass;
    uint64_t most = MIN(MAX(w->cluster * 3, 16384), SIZE) / 512, n = 1 + pick((uint32_t)most);
    uint64_t offset = (uint64_t)pick((uint32_t)(SIZE / 512 - n + 1)) * 512, length = n * 512;
    uint8_t *p = g_malloc(length);
    unsigned cut = pick((uint32_t)length);
    VmrBuffer two[] = {{p, cut}, {p + cut, length - cut}};
    switch (pick(16)) {
    case 0:
        g_assert_cmpint(k->discard(w->b, offset, length), ==, 0);
        model_discard(w, offset, length);
        break;
    case 1:
        g_assert_cmpint(k->zero(w->b, offset, length, pick(2)), ==, 0);
        memset(w->bytes + offset, 0, length);
        break;
    case 2:
        g_assert_cmpint(k->flush(w->b), ==, 0);
        break;
    case 3:
    case 4:
        g_assert_cmpint(k->read(w->b, offset, length, two, 2), ==, 0);
        g_assert_true(!memcmp(p, w->bytes + offset, length));
        break;
    default:
        for (uint64_t i = 0; i < length; i++)
            p[i] = (uint8_t)pick(256);
        memcpy(w->bytes + offset, p, length);
        g_assert_cmpint(k->write(w->b, offset, length, two, 2), ==, 0);
    }
    g_free(p);
}

/* Requests at random, then qemu-img looks; `bytes` is changed with the image. */
static void write_image(uint8_t *bytes, uint64_t cluster, unsigned steps)
{
    GError *error = NULL;
    Writer w = {open_how("image", false, &error), bytes, cluster};
    g_assert_no_error(error);
    g_assert_false(w.b->read_only);
    while (steps--)
        step(&w);
    vmr_block_close(w.b);
    expect("image", bytes);
    char *model = in_folder("model");
    g_assert_true(g_file_set_contents(model, (char *)bytes, SIZE, NULL));
    g_free(model);
    run("qemu-img check image && qemu-img compare -f raw -F qcow2 model image");
}

static void test_write(void)
{
    static const struct {
        const char *options;
        uint64_t cluster;
    } images[] = {
        {"compat=1.1", 65536}, {"compat=0.10", 65536}, {"compat=1.1,cluster_size=512", 512},
        {"compat=0.10,cluster_size=512", 512}, {"compat=1.1,cluster_size=2M", 2 << 20},
        {"compat=1.1,cluster_size=4k,lazy_refcounts=on", 4096},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(images); i++) {
        uint8_t *bytes = g_malloc0(SIZE);
        char *c = g_strdup_printf("rm -f image && qemu-img create -q -f qcow2 -o %s image %d", images[i].options, SIZE);
        run(c);
        write_image(bytes, images[i].cluster, 400);
        g_free(c);
        memcpy(bytes, content, SIZE);
        c = g_strdup_printf("qemu-img convert -c -f raw -O qcow2 -o %s raw image", images[i].options);
        run(c);
        write_image(bytes, images[i].cluster, 300);
        write_image(bytes, images[i].cluster, 100); /* and again, as it was left */
        g_free(c);
        memcpy(bytes, content, SIZE);
        c = g_strdup_printf("qemu-img create -q -f qcow2 -F raw -b raw -o %s image", images[i].options);
        run(c);
        write_image(bytes, images[i].cluster, 300);
        g_free(c);
        g_free(bytes);
    }
    char *base = in_folder("raw"), *now;
    gsize length;
    g_assert_true(g_file_get_contents(base, &now, &length, NULL));
    g_assert_cmpmem(now, length, content, SIZE); /* backing files are not written to */
    g_free(now);
    g_free(base);
}

/* A snapshot that qemu-img took has what it had. */
static void test_snapshot(void)
{
    uint8_t *bytes = g_memdup2(content, SIZE);
    run("qemu-img convert -f raw -O qcow2 -o cluster_size=1k raw image && qemu-img snapshot -c before image");
    write_image(bytes, 1024, 500);
    run("qemu-img snapshot -c between image");
    write_image(bytes, 1024, 200);
    run("qemu-img convert -f qcow2 -O raw -l snapshot.name=before image old && cmp raw old "
        "&& qemu-img snapshot -d before image && qemu-img check image");
    write_image(bytes, 1024, 200);
    run("qemu-img snapshot -a between image && qemu-img check image");
    g_free(bytes);
}

/* Of a disk that is larger than what its refcount table covers at first. */
static void test_refcounts_grow(void)
{
    GError *error = NULL;
    run("rm -f image && qemu-img create -q -f qcow2 -o cluster_size=512 image 40M");
    VmrBlock *b = open_how("image", false, &error);
    g_assert_no_error(error);
    uint8_t *bytes = g_malloc(1 << 20), *got = g_malloc(1 << 20);
    for (unsigned i = 0; i < 40; i++) {
        VmrBuffer all = {bytes, 1 << 20};
        memset(bytes, (int)i + 1, 1 << 20);
        g_assert_cmpint(b->klass->write(b, (uint64_t)i << 20, 1 << 20, &all, 1), ==, 0);
    }
    vmr_block_close(b);
    run("qemu-img check image");
    b = open_image("image", &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 40; i++) {
        VmrBuffer all = {got, 1 << 20};
        memset(bytes, (int)i + 1, 1 << 20);
        g_assert_cmpint(b->klass->read(b, (uint64_t)i << 20, 1 << 20, &all, 1), ==, 0);
        g_assert_true(!memcmp(got, bytes, 1 << 20));
    }
    vmr_block_close(b);
    g_free(bytes);
    g_free(got);
}

/* What makes an image one that only readers may have. */
static void test_write_refused(void)
{
    GError *error = NULL;
    static const struct {
        const char *make, *says;
    } bad[] = {
        {"qemu-img create -q -f qcow2 -o refcount_bits=1 image 1M", "not 16 bits"},
        {"qemu-img create -q -f qcow2 image 1M && printf '\\001' | dd of=image bs=1 seek=79 conv=notrunc status=none",
         "not closed in order"},
        {"qemu-img create -q -f qcow2 image 1M && printf '\\377' | dd of=image bs=1 seek=50 conv=notrunc status=none",
         "refcount table"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        run(bad[i].make);
        g_assert_null(open_how("image", false, &error));
        g_assert_nonnull(error);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, bad[i].says));
        g_clear_error(&error);
        VmrBlock *b = open_image("image", &error); /* it can be read */
        g_assert_no_error(error);
        uint8_t sector[512];
        VmrBuffer all = {sector, 512};
        g_assert_cmpint(b->klass->read(b, 0, 512, &all, 1), ==, 0);
        g_assert_cmpint(b->klass->write(b, 0, 512, &all, 1), ==, EROFS);
        vmr_block_close(b);
    }
}

static void expect_refused(const char *what)
{
    GError *error = NULL;
    g_assert_null(open_image("image", &error));
    g_assert_nonnull(error);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, what));
    g_clear_error(&error);
}

static void test_refused(void)
{
    run("qemu-img create -q -f qcow2 -o data_file=data image 1M");
    expect_refused("external");
    run("rm -f image data && qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=64k image 1M");
    expect_refused("extended L2");
    run("qemu-img create -q -f qcow2 image 1M && printf '\\002' | dd of=image bs=1 seek=35 conv=notrunc status=none");
    expect_refused("encrypted");
    run("qemu-img create -q -f qcow2 image 1M && printf '\\001' | dd of=image bs=1 seek=75 conv=notrunc status=none");
    expect_refused("not supported: unknown (bit 32)");
    /* A chain that bites its tail. */
    run("qemu-img create -q -f qcow2 image 1M && qemu-img create -q -f qcow2 -F qcow2 -b image other "
        "&& qemu-img rebase -u -F qcow2 -b other image");
    expect_refused("chain");
    /* What a base is must be known, if it looks like something. */
    run("qemu-img create -q -f qcow2 other 1M && qemu-img create -q -f qcow2 -F qcow2 -b other image "
        "&& printf AAAA | dd of=image bs=1 seek=112 conv=notrunc status=none");
    expect_refused("was not recorded");
}

/* A raw disk whose format was guessed never becomes what would be taken for an image. */
static void test_guard(void)
{
    GError *error = NULL;
    uint8_t header[1024] = "QFI\xfb", back[1024];
    char *path = in_folder("disk");
    VmrBuffer split[] = {{header, 2}, {header + 2, 510}, {header + 512, 512}}, read = {back, 1024};
    run("rm -f disk && truncate -s 64K disk");
    VmrBlockOptions how = {.lock = true};
    VmrBlock *b = vmr_block_open(path, &how, &error);
    g_assert_no_error(error);
    memset(header + 512, 0x5a, 512);
    g_assert_cmpint(b->klass->write(b, 0, 1024, split, 3), ==, EPERM);
    g_assert_cmpint(b->klass->read(b, 0, 1024, &read, 1), ==, 0);
    for (unsigned i = 0; i < sizeof back; i++)
        g_assert_cmpuint(back[i], ==, 0); /* nothing of it */
    g_assert_cmpint(b->klass->write(b, 512, 512, split, 2), ==, 0); /* not at the start: allowed */
    header[0] = 'q';
    g_assert_cmpint(b->klass->write(b, 0, 1024, split, 3), ==, 0);
    g_assert_cmpint(b->klass->read(b, 0, 1024, &read, 1), ==, 0);
    g_assert_cmpmem(back, sizeof back, header, sizeof header);
    vmr_block_close(b);
    /* who says raw gets raw */
    how.format = VMR_FORMAT_RAW;
    b = vmr_block_open(path, &how, &error);
    g_assert_no_error(error);
    header[0] = 'Q';
    g_assert_cmpint(b->klass->write(b, 0, 1024, split, 3), ==, 0);
    vmr_block_close(b);
    g_free(path);
}

/* Bytes at random: opened or not, read or not, nothing but that. */
static void test_damaged(void)
{
    run("qemu-img convert -c -f raw -O qcow2 -o cluster_size=512 short sick && "
        "qemu-io -c 'write -P 3 4k 40k' -f qcow2 sick >/dev/null");
    char *path = in_folder("sick"), *hurt = in_folder("hurt"), *good;
    gsize length;
    g_assert_true(g_file_get_contents(path, &good, &length, NULL));
    unsigned opened = 0, errors = 0, writable = 0, wrong = 0;
    uint8_t *got = g_malloc(64 << 10);
    for (unsigned i = 0; i < 1500; i++) {
        char *bad = g_memdup2(good, length);
        unsigned reach = i % 3 ? (unsigned)MIN(length, 8192) : 112;
        for (unsigned n = 1 + pick(i % 5 ? 40 : 4); n; n--)
            bad[8 + pick(reach - 8)] = (char)(pick(2) ? pick(256) : 1u << pick(8));
        g_assert_true(g_file_set_contents(hurt, bad, (gssize)(i % 7 ? length : pick((uint32_t)length)), NULL));
        VmrBlock *b = open_image("hurt", NULL);
        for (unsigned n = 0; b && n < 20; n++) {
            uint64_t size = MIN(b->size, 64 << 10) / 512, at = n ? pick((uint32_t)MIN(b->size / 512 - size + 1, 4096)) : 0;
            VmrBuffer all = {got, size * 512};
            errors += b->klass->read(b, at * 512, size * 512, &all, 1) != 0;
        }
        opened += b != NULL;
        vmr_block_close(b);
        b = open_how("hurt", false, NULL);
        for (unsigned n = 0; b && n < 20; n++) {
            uint64_t size = 1 + pick((uint32_t)MIN(b->size / 512, 128)), at = pick((uint32_t)MIN(b->size / 512 - size + 1, 4096));
            VmrBuffer all = {got, size * 512};
            wrong += (n % 5 == 4   ? b->klass->discard(b, at * 512, size * 512)
                      : n % 5 == 3 ? b->klass->flush(b)
                                   : b->klass->write(b, at * 512, size * 512, &all, 1)) != 0;
        }
        writable += b != NULL;
        vmr_block_close(b);
        g_free(bad);
    }
    g_test_message("%u opened, %u errors of reading; %u for writing, %u errors of that", opened, errors, writable, wrong);
    g_assert_cmpuint(opened, >, 100);
    g_assert_cmpuint(errors, >, 100);
    g_assert_cmpuint(writable, >, 100);
    g_assert_cmpuint(wrong, >, 100);
    g_free(got);
    g_free(good);
    g_free(path);
    g_free(hurt);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    char *tool = g_find_program_in_path("qemu-img");
    if (!tool) {
        g_print("1..0 # SKIP no qemu-img here (package qemu-utils)\n");
        return 0;
    }
    g_free(tool);
    folder = g_dir_make_tmp("vmrun-qcow2-XXXXXX", NULL);
    content = g_malloc0(SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        content[i] = i >> 16 & 1 ? (uint8_t)(i * 7 + (i >> 9)) : i >> 17 & 1 ? (uint8_t)pick(256) : 0;
    char *raw = in_folder("raw");
    g_file_set_contents(raw, (char *)content, SIZE, NULL);
    g_test_add_func("/qcow2/formats", test_formats);
    g_test_add_func("/qcow2/zstd", test_zstd);
    g_test_add_func("/qcow2/backing", test_backing);
    g_test_add_func("/qcow2/write", test_write);
    g_test_add_func("/qcow2/snapshot", test_snapshot);
    g_test_add_func("/qcow2/refcounts-grow", test_refcounts_grow);
    g_test_add_func("/qcow2/write-refused", test_write_refused);
    g_test_add_func("/qcow2/refused", test_refused);
    g_test_add_func("/qcow2/guard", test_guard);
    g_test_add_func("/qcow2/damaged", test_damaged);
    int status = g_test_run();
    char *clean = g_strdup_printf("rm -rf '%s'", folder);
    status |= system(clean) != 0;
    g_free(clean);
    g_free(raw);
    g_free(folder);
    g_free(content);
    return status;
}

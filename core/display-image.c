/*
 * core/display-image.c - pixels into a PNG or a PPM file.
 *
 * PNG by libpng, where the build has it; PPM (the binary one, P6) always.
 */
#include "display-private.h"

#ifdef VMR_HAVE_PNG
#include <png.h>
#endif

static void put_row(uint8_t *to, const uint32_t *pixels, uint32_t width)
{
    for (uint32_t x = 0; x < width; x++) {
        *to++ = (uint8_t)(pixels[x] >> 16);
        *to++ = (uint8_t)(pixels[x] >> 8);
        *to++ = (uint8_t)pixels[x];
    }
}

#ifdef VMR_HAVE_PNG
/* libpng ends a failed function by longjmp: `row` is set before and freed after. */
static bool write_png(FILE *to, const uint32_t *pixels, uint32_t width, uint32_t height,
                      GError **error)
{
    uint8_t *const row = g_malloc(3 * (size_t)width);
    png_infop info = NULL;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    volatile bool ok = false;
    if (png && (info = png_create_info_struct(png)) && !setjmp(png_jmpbuf(png))) {
        png_init_io(png, to);
        png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, info);
        for (uint32_t y = 0; y < height; y++) {
            put_row(row, pixels + (size_t)y * width, width);
            png_write_row(png, row);
        }
        png_write_end(png, info);
        ok = true;
    }
    png_destroy_write_struct(&png, &info);
    g_free(row);
    if (!ok)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_IO, "the picture cannot be written");
    return ok;
}
#else
static bool write_png(FILE *to, const uint32_t *pixels, uint32_t width, uint32_t height,
                      GError **error)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                "this vmrun was built without libpng: name a .ppm file");
    return false;
}
#endif

static bool write_ppm(FILE *to, const uint32_t *pixels, uint32_t width, uint32_t height)
{
    uint8_t *row = g_malloc(3 * (size_t)width);
    bool ok = fprintf(to, "P6\n%u %u\n255\n", width, height) > 0;
    for (uint32_t y = 0; ok && y < height; y++) {
        put_row(row, pixels + (size_t)y * width, width);
        ok = fwrite(row, 3, width, to) == width;
    }
    g_free(row);
    return ok;
}

bool vmr_image_is_path(const char *path)
{
    return g_str_has_suffix(path, ".png") || g_str_has_suffix(path, ".ppm");
}

bool vmr_image_write(FILE *to, const char *path, const uint32_t *pixels, uint32_t width,
                     uint32_t height, GError **error)
{
    return g_str_has_suffix(path, ".ppm") ? write_ppm(to, pixels, width, height)
                                          : write_png(to, pixels, width, height, error);
}

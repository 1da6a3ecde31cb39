/*
 * core/display-text.c - a text screen as lines of UTF-8.
 */
#include "display-private.h"

gunichar vmr_text_unicode(uint8_t code)
{
    /* Code page 437: what it has below the space, and from DEL on. */
    static const char low[] = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
    static const char high[] =
        "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌"
        "█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";
    if (code >= 0x20 && code < 0x7f)
        return code;
    return g_utf8_get_char(code < 0x20 ? g_utf8_offset_to_pointer(low, code)
                                       : g_utf8_offset_to_pointer(high, code - 0x7f));
}

void vmr_text_append(GString *to, const VmrTextScreen *s)
{
    for (uint32_t row = 0; row < s->rows; row++) {
        gsize shown = to->len; /* without the blanks at the end */
        for (uint32_t column = 0; column < s->columns; column++) {
            uint8_t code = (uint8_t)s->cells[row * s->columns + column];
            g_string_append_unichar(to, vmr_text_unicode(code));
            if (code != ' ' && code != 0 && code != 0xff)
                shown = to->len;
        }
        g_string_truncate(to, shown);
        g_string_append_c(to, '\n');
    }
}

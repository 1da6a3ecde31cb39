/*
 * core/main.c - the command line of vmrun.
 */
#include "core/config.h"

int main(int argc, char **argv)
{
    (void)argv;
    return argc > 1 ? 2 : 0;
}

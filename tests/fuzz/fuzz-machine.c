/*
 * fuzz-machine - machine files: read, and wired to devices of the plugins that are there, as
 * `vmrun --check` does it.
 */
#include "core/config.h"
#include "core/wire.h"
#include "file.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzFile file = fuzz_file_new(data, size);
    VmrErrors *errors = vmr_errors_new();
    VmrConfig *config = vmr_config_load(file.path, NULL, errors);
    VmrMachine *machine = config ? vmr_machine_wire(config, errors) : NULL;
    /* Either there is a machine, or somebody is told why not. */
    if (!machine && !vmr_errors_count(errors))
        g_error("no machine, and no error");
    g_free(vmr_errors_text(errors));
    vmr_machine_free(machine);
    vmr_config_free(config);
    vmr_errors_free(errors);
    fuzz_file_free(&file);
    return 0;
}

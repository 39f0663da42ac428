/* home_config.h - where a user's own files are: below the XDG folders, else below HOME. Called by the client's configuration and by the
 * devnet, which thereby mean the same files. */
#ifndef EEI_HOME_CONFIG_H
#define EEI_HOME_CONFIG_H
#include "error.h"

#define EEI_DEVNET_FILE "easyenclave/devnet.json" /* eei_runtime_path() of it is what clients look for */

/* "$xdg_name/rest", or "$HOME/below_home/rest" where that variable is no absolute path. EE_E_CONFIG. */
ee_status eei_home_path(char *out, size_t cap, const char *xdg_name, const char *below_home, const char *rest, ee_error *err) EE_MUST_USE;
/* Below the folder of what runs: the devnet's file, its state. */
ee_status eei_runtime_path(char *out, size_t cap, const char *rest, ee_error *err) EE_MUST_USE;
#endif

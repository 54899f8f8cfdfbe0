/* serve_args.c - the command line of `valet serve`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdio.h>

enum { CONFIG, STATE, FIRST_SETTING };

/* From FIRST_SETTING on, an option is the setting of the same place in `settings`. */
static const struct option options[] = {
	{"config", 'c', "FILE",
	 "settings (default: $VALET_CONFIG, ./valet.yaml, /etc/valet/valet.yaml)"},
	{"state", 0, "DIR", "where keys and books are kept"},
	{"listen", 'l', "HOST:PORT", "where clients connect; may be given several times"},
	{"admin-listen", 0, "HOST:PORT", "where the admin API is, or off"},
	{"workers", 0, "N", "threads that serve requests"},
	{"discover", 0, "HOST[:PORT]", "look for engines there too; may be given several times"},
	{"discovery", 0, "on|off", "look for engines on this host"},
};
static const char *const settings[] = {"listen", "admin_listen", "workers", "discover",
				       "discovery"};

enum { OPTION_COUNT = sizeof(options) / sizeof(options[0]) };
_Static_assert(OPTION_COUNT == FIRST_SETTING + sizeof(settings) / sizeof(settings[0]),
	       "one setting for each option that stands for one");

const struct command command_serve = {
	.name = "serve",
	.arguments = "[-c FILE] [--state DIR] [--listen HOST:PORT] ...",
	.summary = "runs the gateway",
	.text = "Serves until SIGTERM or SIGINT, then lets running answers finish. Without "
		"settings it\n"
		"listens on 127.0.0.1:9300 and finds the engines of this host by itself. Options "
		"win over\n"
		"the settings file.",
	.options = options,
	.option_count = OPTION_COUNT,
	.run = cli_serve,
};

int serve_args_read(struct serve_args *out, int argc, char **argv)
{
	struct options o;
	int found;
	*out = (struct serve_args){.config = NULL};
	options_init(&o, "valet serve", options, OPTION_COUNT, 0, argc, argv);
	while ((found = options_next(&o)) >= 0) {
		if (found == CONFIG) {
			out->config = o.value;
		} else if (found == STATE) {
			out->state = o.value;
		} else if (out->over_count == SERVE_OVERRIDES_MAX) {
			fprintf(stderr, "valet serve: too many options; expected at most %d\n",
				SERVE_OVERRIDES_MAX);
			return CLI_USAGE;
		} else {
			out->over[out->over_count++] = (struct settings_override){
				settings[found - FIRST_SETTING], o.value};
		}
	}
	return found == OPTIONS_OVER ? CLI_DONE : CLI_USAGE;
}

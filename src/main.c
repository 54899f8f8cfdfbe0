/* main.c - the program `valet`: everything it can do is a command in cli/.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}

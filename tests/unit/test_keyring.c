/* test_keyring.c - not written yet.
 *
 * SPDX-License-Identifier: Apache-2.0 */
int main(void)
{
	return 0;
}

/* corpus_main.c - runs a fuzz target over its corpus, whole and cut short at every length, in builds without libFuzzer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return 1;
	}
	static uint8_t bytes[1 << 20];
	size_t size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	size_t step = size > 4096 ? size / 1024 : 1;
	for (size_t n = 0; n < size; n += step) {
		uint8_t *copy = malloc(n ? n : 1); /* exact size, so that a sanitizer sees reads past the end */
		memcpy(copy, bytes, n);
		LLVMFuzzerTestOneInput(copy, n);
		free(copy);
	}
	LLVMFuzzerTestOneInput(bytes, size);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 0, files = 0;
	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		if (!dir) {
			perror(argv[i]);
			return 1;
		}
		for (struct dirent *entry; (entry = readdir(dir));) {
			char path[4096];
			if (entry->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
			failed |= run_file(path);
			files++;
		}
		closedir(dir);
	}
	printf("%d corpus files\n", files);
	return failed || files == 0;
}

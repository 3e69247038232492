/* SPDX-License-Identifier: Apache-2.0
 * Run a fuzz target over the files of a folder: replay DIR. No clang needed. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

int main(int argc, char **argv) {
	DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
	if (!folder) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	static uint8_t data[1 << 20];
	int count = 0;
	for (struct dirent *entry; (entry = readdir(folder));) {
		char path[4096];
		snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
		if (!file) {
			continue;
		}
		size_t size = fread(data, 1, sizeof(data), file);
		fclose(file);
		LLVMFuzzerTestOneInput(data, size);
		count++;
	}
	closedir(folder);
	printf("%d inputs\n", count);
	return count ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What to boot and how: the kernel and initrd files, the command line, and the boot protocols.
 *
 * A protocol is a file in x86/ or arm64/ that registers itself with BOOT_PROTOCOL(). At firmware_init the
 * files are opened, the first protocol that knows the kernel is chosen and checks all that can be checked;
 * before the first run and after each reset it puts everything into RAM again. arch_cpu_reset() finds here
 * what the protocol decided.
 */
#ifndef KVM_BOOT_H
#define KVM_BOOT_H

#include "kvm/kvm.h"

/** struct boot_file - a file that is loaded into guest RAM; @what names it in messages: "kernel", "initrd" */
struct boot_file {
	const char *what;
	char *path;		/* NULL: not open */
	int fd;
	uint64_t size;
};

/** boot_file_open() - a readable, not empty regular file; 0 or negative errno (said) */
int __must_check boot_file_open(struct boot_file *file, const char *what, const char *path);
/** boot_file_take() - the same of an open file that has no path; @fd stays the caller's; @name stands for it in messages */
int __must_check boot_file_take(struct boot_file *file, const char *what, const char *name, int fd);
/** boot_file_close() - undoes it; harmless for a zeroed struct or a file that is closed already */
void boot_file_close(struct boot_file *file);
/** boot_file_has() - whether the file is open */
static inline bool boot_file_has(const struct boot_file *file)
{
	return file->path != NULL;
}

/**
 * boot_file_peek() - up to @length bytes at @offset, what the file has; no message
 * Returns how many there were (0 past the end), or negative errno.
 */
ssize_t boot_file_peek(const struct boot_file *file, uint64_t offset, void *buffer, size_t length);
/** boot_file_read() - exactly @length bytes at @offset; 0 or negative errno (said) */
int __must_check boot_file_read(const struct boot_file *file, uint64_t offset, void *buffer,
				size_t length);
/** boot_file_load() - @length bytes from @offset straight into guest RAM; 0 or negative errno (said) */
int __must_check boot_file_load(struct kvm *kvm, const struct boot_file *file, uint64_t offset,
				uint64_t length, gpa_t to);

/** boot_find_kernel() - ./NAME, arch/(any)/boot/NAME, or the newest in /boot; to be freed; or NULL */
char *boot_find_kernel(void);
/**
 * boot_find_kernel_named() - the kernel that is meant by a name that is no file's
 * @name: a source or build folder, a folder into which a package was unpacked, or an installed version. To be freed,
 * or NULL.
 */
char *boot_find_kernel_named(const char *name);
/**
 * boot_give_initrd() - the initrd is @given->fd, unless --initrd names one; from dev_base_init to dev_init
 * @given: the caller's, with @params to put in front of the user's kernel parameters (NULL: none); outlives the VM.
 * 0 or negative errno.
 */
struct boot_given {
	int fd;
	const char *params;
};
int __must_check boot_give_initrd(struct kvm *kvm, struct boot_given *given);

struct boot_protocol;

/** struct boot - what this VM boots; constant after firmware_init, but for @private */
struct boot {
	struct boot_file kernel;
	struct boot_file initrd;	/* boot_file_has() says whether there is one */
	char *command_line;		/* complete: the architecture's, the defaults, the user's */
	const struct boot_protocol *protocol;
	void *private;			/* the protocol's, made by @init, freed by @exit */
	struct firmware firmware;
};

/**
 * struct boot_protocol - one way of booting one kind of file
 * @name:	what --boot calls it: lower-case, a word
 * @kind:	the files it is for, in messages: "bzImage"
 * @priority:	higher ones are asked first
 * @explicit_only: used only when --boot names it (a flat binary looks like nothing)
 * @any_file:	when --boot names it, @probe isn't asked: it makes the best of every file
 * @probe:	1 if the kernel is of its kind, 0 if not, negative errno (said) if it is but is broken
 * @init:	checks what it can and decides where things go, so that a bad file fails before the VM
 *		starts; RAM is laid out and all devices exist. @exit undoes it.
 * @load:	puts everything into guest RAM; vCPUs are parked
 */
struct boot_protocol {
	const char *name;
	const char *kind;
	int priority;
	bool explicit_only, any_file;
	int (*probe)(struct kvm *kvm, const struct boot *boot);
	int (*init)(struct kvm *kvm, struct boot *boot);
	void (*exit)(struct kvm *kvm, struct boot *boot);
	int (*load)(struct kvm *kvm, struct boot *boot);
};

struct boot_protocol_item {
	const struct boot_protocol *protocol;
	struct boot_protocol_item *next;
};
void boot_protocol_register(struct boot_protocol_item *item);

/** BOOT_PROTOCOL() - registers a static const struct boot_protocol */
#define BOOT_PROTOCOL(protocol_)							\
	static struct boot_protocol_item protocol_##_item = { .protocol = &(protocol_) };	\
	static void __attribute__((constructor)) protocol_##_register(void)		\
	{										\
		boot_protocol_register(&protocol_##_item);				\
	}										\
	struct boot_protocol_item /* swallows the semicolon */

/** boot_get() - what the VM boots; NULL before firmware_init and when it boots nothing */
struct boot *boot_get(const struct kvm *kvm);

/**
 * boot_command_line() - puts the parts together, one space between, in front the @defaults
 * @root: what names the root file system, left out if @params (NULL for none) does; or NULL
 * Returns a string to be freed, NULL without memory.
 */
char *boot_command_line(const char *defaults, const char *root, const char *params);

#endif

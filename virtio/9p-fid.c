/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fids of a 9p session: numbers that the guest chose for files. Calls run on several threads, so a fid has a count
 * of those who use it, and what hangs from it goes when the last one is done. What a guest can pile up has a ceiling.
 */
#include "virtio/9p.h"

#include <string.h>

#define DIR_MEMORY	KIB(33)

static struct nine_fid **bucket_of(struct nine *nine, uint32_t number)
{
	return &nine->fids[(number * 2654435761U >> 16) & (NINE_FID_BUCKETS - 1)];
}

/* ---- ceilings ---- */

/* Takes @handles and @memory of what the device may use; false if that is too much. */
static bool charge(struct nine *nine, size_t handles, size_t memory)
{
	bool fits;

	pthread_mutex_lock(&nine->lock);
	fits = handles <= nine->handles_max - nine->handles && memory <= NINE_MEMORY_MAX - nine->memory;
	if (fits) {
		nine->handles += handles;
		nine->memory += memory;
	}
	pthread_mutex_unlock(&nine->lock);
	return fits;
}

static void discharge(struct nine *nine, size_t handles, size_t memory)
{
	pthread_mutex_lock(&nine->lock);
	nine->handles -= handles;
	nine->memory -= memory;
	pthread_mutex_unlock(&nine->lock);
}

struct nine_xattr *nine_xattr_new(struct nine *nine, size_t size, int *error)
{
	struct nine_xattr *xattr;

	*error = -ENOSPC;
	if (size > NINE_XATTR_MAX || !charge(nine, 0, sizeof(*xattr) + size))
		return NULL;
	*error = -ENOMEM;
	xattr = calloc(1, sizeof(*xattr) + size);
	if (xattr)
		xattr->size = size;
	else
		discharge(nine, 0, sizeof(*xattr) + size);
	return xattr;
}

void nine_xattr_free(struct nine *nine, struct nine_xattr *xattr)
{
	if (!xattr)
		return;
	discharge(nine, 0, sizeof(*xattr) + xattr->size);
	free(xattr);
}

/* ---- the table ---- */

static void fid_free(struct nine *nine, struct nine_fid *fid)
{
	discharge(nine, fid->open ? 2 : 1, fid->dir ? DIR_MEMORY : 0);
	nine_xattr_free(nine, fid->xattr);
	share_dir_close(fid->dir);
	if (fid->fd >= 0 && !fid->dir)
		close(fid->fd);
	share_node_put(fid->node);
	pthread_mutex_destroy(&fid->dir_lock);
	pthread_mutex_destroy(&fid->lock);
	free(fid);
}

void nine_fid_put(struct nine *nine, struct nine_fid *fid)
{
	if (fid && atomic_fetch_sub(&fid->refs, 1) == 1)
		fid_free(nine, fid);
}

struct nine_fid *nine_fid_get(struct nine *nine, uint32_t number)
{
	struct nine_fid *fid;

	pthread_mutex_lock(&nine->lock);
	fid = *bucket_of(nine, number);
	while (fid && fid->number != number)
		fid = fid->next;
	if (fid)
		atomic_fetch_add(&fid->refs, 1);
	pthread_mutex_unlock(&nine->lock);
	return fid;
}

/* Puts @fid into the table unless its number is in use. */
static bool table_add(struct nine *nine, struct nine_fid *fid)
{
	struct nine_fid **bucket = bucket_of(nine, fid->number), *other;

	pthread_mutex_lock(&nine->lock);
	other = *bucket;
	while (other && other->number != fid->number)
		other = other->next;
	if (!other) {
		fid->next = *bucket;
		*bucket = fid;
	}
	pthread_mutex_unlock(&nine->lock);
	return !other;
}

int nine_fid_add(struct nine *nine, uint32_t number, uint32_t uid, struct share_node *node, struct nine_xattr *xattr)
{
	struct nine_fid *fid = calloc(1, sizeof(*fid));

	if (!fid || !charge(nine, 1, 0)) {
		free(fid);
		share_node_put(node);
		nine_xattr_free(nine, xattr);
		return -ENFILE;
	}
	fid->number = number;
	fid->uid = uid;
	fid->node = node;
	fid->xattr = xattr;
	fid->fd = -1;
	atomic_init(&fid->refs, 1);
	pthread_mutex_init(&fid->lock, NULL);
	pthread_mutex_init(&fid->dir_lock, NULL);
	if (table_add(nine, fid))
		return 0;
	fid_free(nine, fid);
	return -EINVAL;
}

struct nine_fid *nine_fid_remove(struct nine *nine, uint32_t number)
{
	struct nine_fid **at = bucket_of(nine, number), *fid;

	pthread_mutex_lock(&nine->lock);
	while (*at && (*at)->number != number)
		at = &(*at)->next;
	fid = *at;
	if (fid)
		*at = fid->next;
	pthread_mutex_unlock(&nine->lock);
	return fid;
}

void nine_fids_clear(struct nine *nine)
{
	for (unsigned int i = 0; i < NINE_FID_BUCKETS; i++) {
		struct nine_fid *fid = nine->fids[i], *next;

		nine->fids[i] = NULL;
		for (; fid; fid = next) {
			next = fid->next;
			nine_fid_put(nine, fid);
		}
	}
}

/* ---- open ones ---- */

int nine_fid_opened(struct nine *nine, struct nine_fid *fid, struct share_node *node, int fd, uint32_t flags, bool folder)
{
	size_t memory = folder ? DIR_MEMORY : 0;
	struct share_dir *dir = NULL;
	struct share_node *old = NULL;
	int result = 0;

	if (!charge(nine, 1, memory)) {
		close(fd);
		return -ENFILE;
	}
	if (folder)
		result = share_dir_open(nine->share, node, fd, &dir);
	pthread_mutex_lock(&fid->lock);
	if (!result && (fid->open || fid->xattr))
		result = -EINVAL;
	if (!result) {
		fid->open = true;
		fid->fd = fd;
		/* Not O_EXCL and O_TRUNC once more, when a loaded state opens it. */
		fid->flags = flags & ~01200U;
		fid->dir = dir;
		old = fid->node;
		fid->node = share_node_get(node);
	}
	pthread_mutex_unlock(&fid->lock);
	share_node_put(old);
	if (!result)
		return 0;
	discharge(nine, 1, memory);
	if (dir)
		share_dir_close(dir);
	else
		close(fd);
	return result;
}

void nine_ref_of(struct nine *nine, struct nine_fid *fid, struct nine_ref *ref)
{
	*ref = (struct nine_ref){ .nine = nine, .fid = fid };
	pthread_mutex_lock(&fid->lock);
	ref->node = fid->node ? share_node_get(fid->node) : NULL;
	ref->fd = fid->fd;
	ref->dir = fid->dir;
	ref->xattr = fid->xattr;
	pthread_mutex_unlock(&fid->lock);
}

int nine_ref_get(struct nine *nine, uint32_t number, struct nine_ref *ref)
{
	struct nine_fid *fid = nine_fid_get(nine, number);

	if (!fid)
		return -EBADF;
	nine_ref_of(nine, fid, ref);
	return ref->node ? 0 : -ESTALE;
}

void nine_ref_put(struct nine_ref *ref)
{
	share_node_put(ref->node);
	if (ref->fid)
		nine_fid_put(ref->nine, ref->fid);
}

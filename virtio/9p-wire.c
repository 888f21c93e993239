/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The coding of 9P2000.L messages: little-endian integers, strings of a 16-bit length without a NUL, qids. And the way
 * from a guest's request to an operation and back: the message is copied once and then checked, and a reply's header
 * is written last.
 */
#include "virtio/9p.h"

#include <linux/stat.h>
#include <string.h>

/* ---- reading ---- */

static const uint8_t *in_take(struct nine_in *in, size_t length)
{
	const uint8_t *at = in->data;

	if (in->error || length > in->length) {
		in->error = in->error ? in->error : -EINVAL;
		return NULL;
	}
	in->data += length;
	in->length -= length;
	return at;
}

static uint64_t in_number(struct nine_in *in, unsigned int bytes)
{
	const uint8_t *at = in_take(in, bytes);
	uint64_t value = 0;

	for (unsigned int i = bytes; at && i--;)
		value = value << 8 | at[i];
	return value;
}

uint8_t nine_get8(struct nine_in *in)
{
	return (uint8_t)in_number(in, 1);
}

uint16_t nine_get16(struct nine_in *in)
{
	return (uint16_t)in_number(in, 2);
}

uint32_t nine_get32(struct nine_in *in)
{
	return (uint32_t)in_number(in, 4);
}

uint64_t nine_get64(struct nine_in *in)
{
	return in_number(in, 8);
}

void nine_get_string(struct nine_in *in, char *to, size_t size)
{
	size_t length = nine_get16(in);
	const uint8_t *at = in_take(in, length);

	to[0] = '\0';
	if (!at)
		return;
	if (length >= size)
		in->error = -ENAMETOOLONG;
	else if (memchr(at, '\0', length))
		in->error = -EINVAL;
	if (in->error)
		return;
	memcpy(to, at, length);
	to[length] = '\0';
}

void nine_get_name(struct nine_in *in, char name[NAME_MAX + 1])
{
	nine_get_string(in, name, NAME_MAX + 1);
	if (!in->error && !share_name_ok(name, strlen(name)))
		in->error = -EINVAL;
}

/* ---- writing ---- */

static void out_number(struct nine_out *out, uint64_t value, unsigned int bytes)
{
	/* No reply comes near the buffer's size, by the sizes of what is put into it. */
	if (out->length + bytes > sizeof(out->data))
		return;
	for (unsigned int i = 0; i < bytes; i++, value >>= 8)
		out->data[out->length++] = (uint8_t)value;
}

void nine_put8(struct nine_out *out, uint8_t value)
{
	out_number(out, value, 1);
}

void nine_put16(struct nine_out *out, uint16_t value)
{
	out_number(out, value, 2);
}

void nine_put32(struct nine_out *out, uint32_t value)
{
	out_number(out, value, 4);
}

void nine_put64(struct nine_out *out, uint64_t value)
{
	out_number(out, value, 8);
}

void nine_put_string(struct nine_out *out, const char *text)
{
	size_t behind = MIN(out->length + 2, sizeof(out->data));
	size_t length = MIN(strlen(text), sizeof(out->data) - behind);

	nine_put16(out, (uint16_t)length);
	memcpy(out->data + out->length, text, length);
	out->length += length;
}

uint8_t nine_qid_type(uint32_t mode)
{
	return S_ISDIR(mode) ? 0x80 : S_ISLNK(mode) ? 0x02 : 0;
}

void nine_put_qid(struct nine_out *out, const struct share_attr *attr)
{
	nine_put8(out, nine_qid_type(attr->stat.st_mode));
	/* Changes when the file does, for clients that keep what they read. */
	nine_put32(out, (uint32_t)attr->stat.st_mtim.tv_sec ^ (uint32_t)attr->stat.st_mtim.tv_nsec ^ (uint32_t)attr->stat.st_size << 8);
	nine_put64(out, attr->id);
}

/* ---- calls ---- */

#define RLERROR		7

static nine_op *const nine_ops[] = {
	[8] = nine_statfs,	[12] = nine_lopen,	[14] = nine_lcreate,	[16] = nine_symlink,	[18] = nine_mknod,
	[20] = nine_rename,	[22] = nine_readlink,	[24] = nine_getattr,	[26] = nine_setattr,	[30] = nine_xattrwalk,
	[32] = nine_xattrcreate, [40] = nine_readdir,	[50] = nine_fsync,	[52] = nine_lock,	[54] = nine_getlock,
	[70] = nine_link,	[72] = nine_mkdir,	[74] = nine_renameat,	[76] = nine_unlinkat,	[NINE_TVERSION] = nine_version,
	[104] = nine_attach,	[110] = nine_walk,	[NINE_TREAD] = nine_read, [NINE_TWRITE] = nine_write,
	[120] = nine_clunk,	[122] = nine_remove,
};

nine_op *nine_op_of(uint8_t type)
{
	return type < ARRAY_SIZE(nine_ops) ? nine_ops[type] : NULL;
}

static int call_execute(struct nine_call *call, struct nine_out *out)
{
	nine_op *op = nine_op_of(call->type);
	uint32_t msize = atomic_load(&call->nine->msize);
	size_t length = call->size - NINE_HEADER;
	uint8_t body[NINE_BODY_MAX];
	struct nine_in in = { .data = body };

	if (!op)
		return -EOPNOTSUPP;
	if (op != nine_version && !msize)
		return -EPROTO;
	if (op != nine_version && call->size > msize)
		return -EMSGSIZE;
	if (call->type == NINE_TWRITE)
		length = MIN(length, (size_t)NINE_WRITE_HEADER - NINE_HEADER);
	if (length > sizeof(body))
		return -EMSGSIZE;
	in.length = virtio_request_read(call->req, NINE_HEADER, body, length);
	return op(call, &in, out);
}

static void call_reply(struct nine_call *call, uint8_t type, const struct nine_out *out)
{
	uint32_t size = NINE_HEADER + (uint32_t)out->length + call->bulk;
	struct nine_out header = { 0 };

	nine_put32(&header, size);
	nine_put8(&header, type);
	nine_put16(&header, call->tag);
	virtio_request_write(call->req, NINE_HEADER, out->data, out->length);
	virtio_request_write(call->req, 0, header.data, header.length);
	call->written = size;
}

int nine_run(struct nine_call *call)
{
	struct nine_out out;
	int result;

	out.length = 0;
	call->bulk = 0;
	result = call_execute(call, &out);
	if (result == NINE_LATER && !call->may_block)
		return result;
	if (result == 0 && NINE_HEADER + out.length + call->bulk > call->req->writable_bytes)
		result = -EMSGSIZE;
	if (result == 0) {
		call_reply(call, (uint8_t)(call->type + 1), &out);
		return 0;
	}
	out.length = 0;
	call->bulk = 0;
	nine_put32(&out, (uint32_t)(result < 0 ? -result : EIO));
	call_reply(call, RLERROR, &out);
	return 0;
}

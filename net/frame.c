/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What back ends do with frames: gather, scatter, checksums (RFC 1071).
 */
#include <string.h>

#include "kvm/net.h"

size_t net_iov_length(const struct iovec *iov, unsigned int count)
{
	size_t length = 0;

	for (unsigned int i = 0; i < count; i++)
		length += iov[i].iov_len;
	return length;
}

size_t net_iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *buffer, size_t length)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < length; i++) {
		size_t part;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - offset, length - done);
		memcpy((char *)buffer + done, (const char *)iov[i].iov_base + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t net_iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *buffer, size_t length)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < length; i++) {
		size_t part;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - offset, length - done);
		memcpy((char *)iov[i].iov_base + offset, (const char *)buffer + done, part);
		done += part;
		offset = 0;
	}
	return done;
}

/* The one's complement sum doesn't depend on byte order, so it is taken 4 bytes at a time. */
static uint16_t checksum(const uint8_t *data, size_t length)
{
	uint64_t sum = 0;
	uint32_t word = 0;

	for (; length >= sizeof(word); data += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, data, length);
	sum += word;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void net_checksum_fill(uint8_t *frame, size_t length, size_t start, size_t offset)
{
	uint16_t sum;

	if (start > length || !range_contains(0, length - start, offset, sizeof(sum)))
		return;
	sum = checksum(frame + start, length - start);
	/* UDP reads 0 as "none"; elsewhere the two mean the same. */
	if (!sum)
		sum = 0xffff;
	memcpy(frame + start + offset, &sum, sizeof(sum));
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batched output to a tty, a pipe, a socket or a file, which never blocks who writes.
 */
#ifndef KVM_OUTPUT_H
#define KVM_OUTPUT_H

#include "kvm/event.h"
#include "kvm/types.h"

struct output;

/**
 * output_open() - output that goes to @fd (duplicated or opened anew: the caller keeps its own)
 * @name: for the message about dropped bytes; must outlive the output
 */
int __must_check output_open(struct output **output, struct event_loop *loop, int fd, const char *name);

/** output_close() - flushes, says how much was dropped, if any, and frees; main thread; NULL is fine */
void output_close(struct output *output);

/**
 * output_write() - appends; any thread
 * Written when OUTPUT_BATCH bytes are there or OUTPUT_FLUSH_MS have passed since the first of them;
 * OUTPUT_STREAM_MS if a batch was written just before.
 */
void output_write(struct output *output, const void *data, size_t length);
#define OUTPUT_BATCH	4096
#define OUTPUT_FLUSH_MS	5
#define OUTPUT_STREAM_MS	20

/** output_flush() - writes what is there, waiting for a slow reader for a bounded time; any thread */
void output_flush(struct output *output);
#define OUTPUT_STALL_MS	1000

/** output_dropped() - bytes lost because the reader stalled past the buffer's ceiling; any thread */
uint64_t output_dropped(struct output *output);
#define OUTPUT_CEILING	KIB(512)

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices that are put into root ports' slots and taken out of them, while the VM runs or before it does (--plug); and vCPUs,
 * which are in no slot (hw/cpu-plug.c).
 *
 * A plug is one such device, by the text of an option of `lkvm run`; what kind of device that makes is a file's own struct
 * plug_kind, which uses the same code as for the devices that are there from the start. It has a back (the image, the
 * network), which is opened and closed while the guest runs, and a front (the virtio device), which comes and goes while the
 * vCPUs are parked. Main thread.
 */
#ifndef KVM_PLUG_H
#define KVM_PLUG_H

#include <limits.h>

#include "kvm/event.h"
#include "kvm/types.h"

#define PLUG_ID_MAX	32
/** plug.port_index: the first that is empty */
#define PLUG_PORT_ANY	UINT_MAX
/** how long a guest may take to let go of a device */
#define PLUG_TIMEOUT_MS	30000

struct kvm;
struct pci_port;
struct plug;
struct virtio_device;

struct plug_kind {
	const char *option;		/* of lkvm run, whose text it takes: "disk" */
	/** @open: makes plug->back; says its errors. @close undoes it. NULL: there is no back */
	int (*open)(struct plug *plug);
	void (*close)(struct plug *plug);
	/** @add: makes plug->device, called virtio-KIND-ID, with pci_port set; says its errors. @del undoes it */
	int (*add)(struct plug *plug);
	void (*del)(struct plug *plug);
	/** @ask: of what is in no port, and recorded elsewhere: asks the guest (NULL: its port does); @ask_no_more */
	void (*ask)(struct plug *plug);
	void (*ask_no_more)(struct plug *plug);
	struct plug_kind *next;
};

#define PLUG_KIND(kind_)								\
	static void __attribute__((constructor)) kind_##_register(void)			\
	{										\
		plug_kind_register(&kind_);						\
	}										\
	struct plug_kind /* swallows the semicolon */

void plug_kind_register(struct plug_kind *kind);

enum plug_state {
	PLUG_OUT,			/* it has a back only */
	PLUG_IN,
	PLUG_ASKED,			/* the guest is to let go of it */
	PLUG_REFUSED,			/* it said no; as PLUG_IN otherwise */
	PLUG_UNANSWERED,		/* it said nothing in time; likewise */
};

struct plug {
	struct kvm *kvm;
	const struct plug_kind *kind;
	char *id, *wanted_id;		/* while it is in; what id= of its text says, or NULL */
	char *text;			/* the option's, without what is said here */
	char *node;			/* QMP's name of the back, which outlives the front then; or NULL */
	enum plug_state state;
	struct pci_port *port;		/* NULL: PLUG_OUT, or in none */
	unsigned int port_index;	/* of a vCPU: its number */
	void *back;			/* the kind's, as is @device's surrounding */
	struct virtio_device *device;
	struct event_timer timer;
	struct plug *next;
};

/**
 * plug_open() - the back of a new device of @option, by @text as `lkvm run` takes it, and id=
 * @node: QMP's name of the back; NULL: it has none, and goes with the front
 * Says its errors; nothing is left behind.
 */
int __must_check plug_open(struct kvm *kvm, const char *option, const char *text, const char *node, struct plug **plug);
/**
 * plug_insert() - puts it into a slot: port=N of its text, else the first that is empty; vCPUs are parked for a moment
 * @id: it is called so; NULL: id= of its text, or a name that is free
 * -EBUSY: it is in one; -ENOSPC: no slot is empty; said.
 */
int __must_check plug_insert(struct plug *plug, const char *id);
/** plug_change() - the back is opened again by @more beside its text ("serial=X"); as before if that can't be (said), and gone if that can't be either */
int __must_check plug_change(struct plug *plug, const char *more);
/** plug_ask() - the guest is asked to let go of it, for @timeout_ms at most; -EALREADY: it was */
int __must_check plug_ask(struct plug *plug, unsigned int timeout_ms);
/** plug_refused() - the guest says no, if it was asked */
void plug_refused(struct plug *plug);
/** plug_remove() - takes it out, whatever the guest thinks; a front of no named back takes that along: @plug is gone */
void plug_remove(struct plug *plug);
/** plug_close() - of a plug that is out */
void plug_close(struct plug *plug);

struct plug *plug_first(struct kvm *kvm);
/** plug_find() - by its id; plug_find_node() - by its back's name; NULL: there is none */
struct plug *plug_find(struct kvm *kvm, const char *id);
struct plug *plug_find_node(struct kvm *kvm, const char *node);
const char *plug_state_name(enum plug_state state);
/** plug_id_is_good() - a letter, then letters, digits, '-', '.' and '_' */
bool plug_id_is_good(const char *id);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Root ports: bridges of one link each, to a slot with an attention button, a power controller and both indicators
 * (PCI Express Base 5.0, 6.7 and 7.5.3). They are on the last slots of the root bus, so that the others stay where they are.
 *
 * The registers that the guest reads are config space itself; beside them is only what they don't tell. The bus lock
 * guards all of it. What has to be done about a device is done by the main loop, which work tells: until then the link is
 * down, so that the guest sees nothing half done.
 */
#include "kvm/pci-port.h"

#include <stdio.h>
#include <string.h>

#include "hw/pci.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define SLOT_EVENTS	(PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC | PCI_EXP_SLTSTA_PDC | \
			 PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)
#define SLOT_WRITABLE	(PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PFDE | PCI_EXP_SLTCTL_MRLSCE | PCI_EXP_SLTCTL_PDCE | \
			 PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_AIC | PCI_EXP_SLTCTL_PIC | \
			 PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_DLLSCE)
#define LINK_STATUS	(PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1)
/* A window whose limit is below its base is none. */
#define WINDOW_NONE	0xfff0
#define WINDOW_64	1

static const char ports_key[] = "PCI root ports";

struct pci_port {
	struct pci_device function;
	char name[24];
	uint8_t express;
	const struct pci_port_client *client;	/* the main thread's, as is @opaque */
	void *opaque;
	struct event_work work;

	/* guarded by the bus lock */
	uint16_t control;		/* Slot Control before the write that is looked at */
	bool interrupting;		/* an event that is enabled is there */
	bool asked;			/* the button was pressed, and there is no answer yet */
	bool noticed;			/* the guest blinked since */
	bool refused;			/* for @work */
	bool settling;			/* powered off, and not reset yet */
	bool leaving;			/* for the guest it is out already */
};

struct pci_ports {
	unsigned int count;
	struct pci_port ports[];
};

static struct pci_port *port_of(struct pci_device *function)
{
	return container_of(function, struct pci_port, function);
}

/* ---- registers ---- */

static uint8_t *port_register(struct pci_port *port, unsigned int offset)
{
	return port->function.config + port->express + offset;
}

static uint16_t port_get(struct pci_port *port, unsigned int offset)
{
	return (uint16_t)pci_config_load(port_register(port, offset), 2);
}

static void port_put(struct pci_port *port, unsigned int offset, unsigned int value)
{
	pci_config_store(port_register(port, offset), 2, value);
}

static bool port_is_occupied(const struct pci_port *port)
{
	return port->function.behind && !port->leaving;
}

/* 6.7.3.4: an edge of what is there and enabled is a message; the level is INTx. */
static bool port_wants_interrupt(struct pci_port *port)
{
	unsigned int control = port_get(port, PCI_EXP_SLTCTL), status = port_get(port, PCI_EXP_SLTSTA);
	unsigned int low = PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC | PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_CC;

	if (!(control & PCI_EXP_SLTCTL_HPIE))
		return false;
	return (control & status & low) || ((control & PCI_EXP_SLTCTL_DLLSCE) && (status & PCI_EXP_SLTSTA_DLLSC));
}

static void port_interrupt_locked(struct pci_port *port)
{
	bool wanted = port_wants_interrupt(port);

	if (wanted == port->interrupting)
		return;
	port->interrupting = wanted;
	if (wanted && pci_msix_enabled(&port->function))
		pci_msix_raise(&port->function, 0);
	pci_intx_set_locked(&port->function, wanted);
}

/* Presence and link as they are now; returns the events that this is. */
static unsigned int port_update_locked(struct pci_port *port)
{
	struct pci_device *function = &port->function;
	unsigned int status = port_get(port, PCI_EXP_SLTSTA), events = 0;
	bool occupied = port_is_occupied(port);
	bool up = occupied && !port->settling && !(port_get(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC);

	if (occupied != !!(status & PCI_EXP_SLTSTA_PDS)) {
		port_put(port, PCI_EXP_SLTSTA, status ^ PCI_EXP_SLTSTA_PDS);
		events |= PCI_EXP_SLTSTA_PDC;
	}
	port_put(port, PCI_EXP_LNKSTA, LINK_STATUS | (up ? PCI_EXP_LNKSTA_DLLLA : 0));
	if (up != function->link_up)
		events |= PCI_EXP_SLTSTA_DLLSC;
	function->link_up = up;
	if (function->behind)
		pci_bars_update_locked(function->behind);
	return events;
}

static void port_event_locked(struct pci_port *port, unsigned int events)
{
	port_put(port, PCI_EXP_SLTSTA, port_get(port, PCI_EXP_SLTSTA) | events);
	port_interrupt_locked(port);
}

/* As firmware leaves it: the power is on where there is something to power. */
static void port_settle_locked(struct pci_port *port)
{
	bool occupied = port_is_occupied(port);

	port_put(port, PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_ATTN_IND_OFF |
		 (occupied ? PCI_EXP_SLTCTL_PWR_ON | PCI_EXP_SLTCTL_PWR_IND_ON : PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF));
	port->control = port_get(port, PCI_EXP_SLTCTL);
	port->settling = false;
	port_update_locked(port);
	port_put(port, PCI_EXP_SLTSTA, occupied ? PCI_EXP_SLTSTA_PDS : 0);
	port_interrupt_locked(port);
}

/* ---- what the guest does ---- */

static void port_power_off_locked(struct pci_port *port)
{
	struct pci_device *behind = port->function.behind;

	if (!port_is_occupied(port))
		return;
	port->leaving = port->asked;
	port->settling = !port->asked;
	port->asked = port->noticed = false;
	pci_function_reset_locked(behind);
	pci_intx_set_locked(behind, false);
	event_work_post(&port->work);
}

/* Blinking is how it says that it has heard, a steady light that all stays as it is (6.7.1.1.2). */
static void port_indicator_locked(struct pci_port *port, unsigned int control)
{
	if (!port->asked)
		return;
	if ((control & PCI_EXP_SLTCTL_PIC) == PCI_EXP_SLTCTL_PWR_IND_BLINK) {
		port->noticed = true;
	} else if ((control & PCI_EXP_SLTCTL_PIC) == PCI_EXP_SLTCTL_PWR_IND_ON && port->noticed && !(control & PCI_EXP_SLTCTL_PCC)) {
		port->asked = port->noticed = false;
		port->refused = true;
		event_work_post(&port->work);
	}
}

/* Each write to Slot Control is a command, done at once. */
static void port_command_locked(struct pci_port *port)
{
	unsigned int control = port_get(port, PCI_EXP_SLTCTL);

	if ((control & ~port->control) & PCI_EXP_SLTCTL_PCC)
		port_power_off_locked(port);
	port->control = (uint16_t)control;
	port_indicator_locked(port, control);
	port_event_locked(port, port_update_locked(port) | PCI_EXP_SLTSTA_CC);
}

static void port_written_locked(struct pci_device *function, unsigned int offset, uint32_t value, unsigned int size)
{
	struct pci_port *port = port_of(function);
	unsigned int status = port->express + PCI_EXP_SLTSTA, clear = 0;

	for (unsigned int i = 0; i < size; i++)
		if (offset + i - status < 2)
			clear |= ((value >> (8 * i)) & 0xff) << (8 * (offset + i - status));
	if (clear)
		port_put(port, PCI_EXP_SLTSTA, port_get(port, PCI_EXP_SLTSTA) & ~(clear & SLOT_EVENTS));
	if (ranges_overlap(offset, size, port->express + PCI_EXP_SLTCTL, 2))
		port_command_locked(port);
	else
		port_interrupt_locked(port);
}

static void port_reset_locked(struct pci_device *function)
{
	struct pci_port *port = port_of(function);

	/* Nobody uses it now: who was asked for it needs no more asking. */
	port->leaving = port->leaving || (port->asked && function->behind);
	port->interrupting = false;
	port_settle_locked(port);
	if (port->leaving)
		event_work_post(&port->work);
}

static void port_loaded_locked(struct pci_device *function)
{
	struct pci_port *port = port_of(function);
	unsigned int at = port->express + PCI_EXP_SLTCAP;

	memcpy(function->config + at, function->power_on + at, 4);
	port->control = port_get(port, PCI_EXP_SLTCTL) & SLOT_WRITABLE;
	port_put(port, PCI_EXP_SLTCTL, port->control);
	port_put(port, PCI_EXP_SLTSTA, port_get(port, PCI_EXP_SLTSTA) & SLOT_EVENTS);
	port->asked = port->noticed = port->refused = port->settling = port->leaving = false;
	port_update_locked(port);
	port->interrupting = port_wants_interrupt(port);
	function->intx_level = port->interrupting;
	/* One may have been on its way; one too many does no harm. The vectors are loaded behind this. */
	if (port->interrupting && (pci_config_load(function->config + function->msix.capability + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE))
		pci_msix_raise(function, 0);
}

static void port_behind_locked(struct pci_device *function)
{
	struct pci_port *port = port_of(function);

	port->asked = port->noticed = port->refused = port->settling = port->leaving = false;
	if (!function->bus->kvm->started_ns) {
		port_settle_locked(port);
		return;
	}
	port_event_locked(port, port_update_locked(port));
	/* Linux asks for no interrupt by presence where there is a button: whoever puts a card in presses it. */
	if (function->behind && !function->link_up)
		port_event_locked(port, PCI_EXP_SLTSTA_ABP);
}

static const struct pci_device_ops port_ops = {
	.written_locked = port_written_locked,
	.reset_locked = port_reset_locked,
	.loaded_locked = port_loaded_locked,
	.behind_locked = port_behind_locked,
};

/* ---- what the host does ---- */

static void port_work(struct event_work *work)
{
	struct pci_port *port = container_of(work, struct pci_port, work);
	pthread_mutex_t *lock = &port->function.bus->lock;
	bool refused, gone, off;

	pthread_mutex_lock(lock);
	refused = port->refused;
	gone = port->leaving;
	off = port->settling;
	port->refused = false;
	pthread_mutex_unlock(lock);
	if (!port->client)
		return;
	if (refused)
		port->client->refused(port->opaque);
	if (gone)
		port->client->gone(port->opaque);
	else if (off)
		port->client->off(port->opaque);
}

int pci_port_ask(struct pci_port *port)
{
	pthread_mutex_t *lock = &port->function.bus->lock;
	int result = 0;

	pthread_mutex_lock(lock);
	if (port->asked || port->leaving) {
		result = -EALREADY;
	} else if (port->function.link_up) {
		port->asked = true;
		port_event_locked(port, PCI_EXP_SLTSTA_ABP);
	} else {
		/* it was switched off before: who has done that agrees */
		port->leaving = true;
		port_event_locked(port, port_update_locked(port));
		event_work_post(&port->work);
	}
	pthread_mutex_unlock(lock);
	return result;
}

void pci_port_ask_no_more(struct pci_port *port)
{
	pthread_mutex_lock(&port->function.bus->lock);
	port->asked = port->noticed = port->refused = false;
	pthread_mutex_unlock(&port->function.bus->lock);
}

void pci_port_settled(struct pci_port *port)
{
	pthread_mutex_lock(&port->function.bus->lock);
	port->settling = false;
	port_event_locked(port, port_update_locked(port));
	pthread_mutex_unlock(&port->function.bus->lock);
}

void pci_port_set_client(struct pci_port *port, const struct pci_port_client *client, void *opaque)
{
	port->client = client;
	port->opaque = opaque;
}

/* ---- the ports of a VM ---- */

unsigned int pci_ports_count(struct kvm *kvm)
{
	const struct pci_ports *ports = kvm_get_state(kvm, ports_key);

	return ports ? ports->count : 0;
}

struct pci_port *pci_port(struct kvm *kvm, unsigned int index)
{
	struct pci_ports *ports = kvm_get_state(kvm, ports_key);

	return &ports->ports[index];
}

struct pci_device *pci_port_bridge(struct pci_port *port)
{
	return &port->function;
}

bool pci_port_is_empty(const struct pci_port *port)
{
	return !port->function.behind;
}

static void port_fill_slot(struct pci_port *port, unsigned int index)
{
	uint8_t *mask = port->function.write_mask + port->express;

	port_put(port, PCI_EXP_FLAGS, port_get(port, PCI_EXP_FLAGS) | PCI_EXP_FLAGS_SLOT);
	pci_config_store(port_register(port, PCI_EXP_LNKCAP), 4,
			 PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4 | PCI_EXP_LNKCAP_DLLLARC | (uint64_t)(index + 1) << 24);
	pci_config_store(port_register(port, PCI_EXP_SLTCAP), 4,
			 PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_AIP | PCI_EXP_SLTCAP_PIP | PCI_EXP_SLTCAP_HPS |
			 PCI_EXP_SLTCAP_HPC | (uint64_t)(index + 1) << 19);
	pci_config_store(mask + PCI_EXP_SLTCTL, 2, SLOT_WRITABLE);
	pci_config_store(mask + PCI_EXP_RTCTL, 2, PCI_EXP_RTCTL_SECEE | PCI_EXP_RTCTL_SENFEE | PCI_EXP_RTCTL_SEFEE);
	port->function.live = (uint8_t)(port->express + PCI_EXP_LNKSTA);
	port->function.live_size = PCI_EXP_SLTSTA + 2 - PCI_EXP_LNKSTA;
}

/* Bus numbers as firmware gives them, and windows that are shut: kernels open them as they need. */
static void port_fill_bridge(struct pci_port *port, unsigned int index)
{
	uint8_t *config = port->function.config, *mask = port->function.write_mask;

	config[PCI_SECONDARY_BUS] = config[PCI_SUBORDINATE_BUS] = (uint8_t)(index + 1);
	memset(mask + PCI_PRIMARY_BUS, 0xff, 3);
	pci_config_store(config + PCI_MEMORY_BASE, 2, WINDOW_NONE);
	pci_config_store(config + PCI_PREF_MEMORY_BASE, 2, WINDOW_NONE | WINDOW_64);
	pci_config_store(config + PCI_PREF_MEMORY_LIMIT, 2, WINDOW_64);
	pci_config_store(mask + PCI_MEMORY_BASE, 4, 0xfff0fff0);
	pci_config_store(mask + PCI_PREF_MEMORY_BASE, 4, 0xfff0fff0);
	memset(mask + PCI_PREF_BASE_UPPER32, 0xff, 8);
	pci_config_store(mask + PCI_BRIDGE_CONTROL, 2, PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR);
}

static int port_add(struct kvm *kvm, struct pci_port *port, unsigned int index)
{
	int at;

	snprintf(port->name, sizeof(port->name), "root-port%u", index);
	port->function = (struct pci_device){
		.name = port->name, .ops = &port_ops, .is_bridge = true, .intx = true, .class_code = 0x060400,
		/* Red Hat's generic root port, for the same reason as the host bridge is its. */
		.vendor_id = 0x1b36, .device_id = 0x000c,
	};
	event_work_init(kvm->loop, &port->work, port_work);
	at = pci_add_express(&port->function, PCI_EXP_TYPE_ROOT_PORT);
	if (at < 0)
		return at;
	port->express = (uint8_t)at;
	port_fill_slot(port, index);
	port_fill_bridge(port, index);
	at = pci_device_add(pci_bus(kvm), &port->function, (int)(31 - index) << 3, 1, 0);
	if (at)
		return at;
	pthread_mutex_lock(&port->function.bus->lock);
	port_settle_locked(port);
	pthread_mutex_unlock(&port->function.bus->lock);
	return 0;
}

static void ports_free(struct pci_ports *ports)
{
	while (ports->count) {
		struct pci_port *port = &ports->ports[--ports->count];

		event_work_cancel(&port->work);
		pci_device_del(&port->function);
	}
	free(ports);
}

static void pci_ports_exit(struct kvm *kvm)
{
	struct pci_ports *ports = kvm_get_state(kvm, ports_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, ports_key, NULL))
		ports_free(ports);
}

static int pci_ports_init(struct kvm *kvm)
{
	unsigned int count = (unsigned int)config_uint(kvm->config, "root-ports");
	struct pci_ports *ports;
	int result = 0;

	if (!count)
		return INIT_SKIP;
	ports = calloc(1, sizeof(*ports) + count * sizeof(ports->ports[0]));
	if (!ports)
		return log_errno(ENOMEM, "--root-ports");
	for (unsigned int i = 0; i < count && !result; i++) {
		result = port_add(kvm, &ports->ports[i], i);
		ports->count += !result;
	}
	if (!result)
		result = kvm_set_state(kvm, ports_key, ports);
	if (result)
		ports_free(ports);
	return result;
}

static const struct option_def ports_options[] = {
	{ .name = "root-ports", .type = OPTION_UINT, .argument = "N", .max = PCI_PORTS_MAX, .fallback = "0",
	  .help = "PCI Express slots that devices can be put into while the guest runs (lkvm device)" },
};
RUN_OPTIONS(ports_options_group, "Device options", ports_options);

dev_init(pci_ports_init);
dev_exit(pci_ports_exit);

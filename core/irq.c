/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt lines and messages on KVM's irqfds, and the one GSI routing table behind them.
 *
 * irqs->lock guards the table, which GSIs are taken, and a line's irqfd while it is made; it is taken by the
 * main thread, and by whoever routes a message (a vCPU that writes an MSI-X table entry) or raises a line for
 * the first time; an event loop's lock comes after it. Raising takes no lock otherwise.
 */
#include <linux/kvm.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "core/irq.h"
#include "kvm/arch.h"
#include "kvm/log.h"

/* A ceiling of ours below KVM's (KVM_MAX_IRQ_ROUTES is 4096), so that a guest can't make us grow for ever. */
#define IRQ_MESSAGES_MAX	2048
#define IRQ_LINE_ENTRIES_MAX	1100	/* arm64: 988 SPIs; x86: 40 */

struct irqs {
	pthread_mutex_t lock;
	struct log_limit log;
	struct irq_line *lines;		/* main thread */
	uint8_t *line_taken;		/* main thread: arch_irq_lines() of them; allocated ones */
	struct kvm_irq_routing *table;	/* lines first, then messages, densely */
	size_t line_entries, message_entries, capacity;
	uint64_t message_taken[IRQ_MESSAGES_MAX / 64];
};

/* ---- the routing table ---- */

static int irqs_grow_locked(struct irqs *irqs, size_t entries)
{
	struct kvm_irq_routing *grown;
	size_t capacity = irqs->capacity;

	if (entries <= capacity)
		return 0;
	while (capacity < entries)
		capacity = capacity ? capacity * 2 : 64;
	grown = realloc(irqs->table, sizeof(*grown) + capacity * sizeof(grown->entries[0]));
	if (!grown)
		return -ENOMEM;
	irqs->table = grown;
	irqs->capacity = capacity;
	return 0;
}

static int irqs_commit_locked(struct kvm *kvm)
{
	struct irqs *irqs = kvm->irqs;

	if (kvm->closing)
		return 0;
	irqs->table->nr = (uint32_t)(irqs->line_entries + irqs->message_entries);
	irqs->table->flags = 0;
	return ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, irqs->table) < 0 ? -errno : 0;
}

static struct kvm_irq_routing_entry *irqs_find_locked(struct irqs *irqs, uint32_t gsi)
{
	struct kvm_irq_routing_entry *entries = irqs->table->entries + irqs->line_entries;

	for (size_t i = 0; i < irqs->message_entries; i++)
		if (entries[i].gsi == gsi)
			return &entries[i];
	return NULL;
}

static int irqfd_set(struct kvm *kvm, int fd, int resample_fd, uint32_t gsi, bool add)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = add ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	if (!add && kvm->closing)
		return 0;
	if (add && resample_fd >= 0) {
		irqfd.flags |= KVM_IRQFD_FLAG_RESAMPLE;
		irqfd.resamplefd = (uint32_t)resample_fd;
	}
	return ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

/* An eventfd's counter can't overflow by ones in a machine's lifetime; EAGAIN can't be. */
static void eventfd_signal(int fd)
{
	static const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- lines ---- */

/* KVM dropped the line at the guest's EOI: up again if the cause is still there. */
static void irq_line_resample(struct event_source *source, uint32_t events)
{
	struct irq_line *line = container_of(source, struct irq_line, resample);
	uint64_t count;

	(void)events;
	if (read(line->resample_fd, &count, sizeof(count)) < 0)
		return;
	if (atomic_load(&line->raised))
		eventfd_signal(atomic_load(&line->fd));
}

static int irq_line_bind_locked(struct irq_line *line)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int result = fd < 0 ? -errno : 0;

	if (!result && line->trigger == IRQ_LEVEL && line->resample_fd < 0) {
		line->resample_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		result = line->resample_fd < 0 ? -errno :
			 event_add(line->kvm->loop, &line->resample, line->resample_fd, EPOLLIN, irq_line_resample);
	}
	if (!result)
		result = irqfd_set(line->kvm, fd, line->resample_fd, line->gsi, true);
	if (!result)
		atomic_store(&line->fd, take_fd(&fd));
	return result;
}

static void irq_line_signal(struct irq_line *line)
{
	struct irqs *irqs = line->kvm->irqs;
	int result = 0;

	if (atomic_load_explicit(&line->fd, memory_order_acquire) < 0) {
		pthread_mutex_lock(&irqs->lock);
		if (atomic_load(&line->fd) < 0)
			result = irq_line_bind_locked(line);
		pthread_mutex_unlock(&irqs->lock);
	}
	if (result)
		log_guest(&irqs->log, "interrupt line %u can't be raised: %s", line->gsi, strerrordesc_np(-result));
	else
		eventfd_signal(atomic_load_explicit(&line->fd, memory_order_relaxed));
}

static int irq_line_check(const struct irqs *irqs, uint32_t gsi, enum irq_trigger trigger)
{
	if (gsi >= arch_irq_lines())
		return log_error(EINVAL, "interrupt line %u: there are only %u", gsi, arch_irq_lines());
	for (const struct irq_line *other = irqs->lines; other; other = other->next)
		if (other->gsi == gsi && (other->trigger == IRQ_EDGE || trigger == IRQ_EDGE))
			return log_error(EBUSY, "interrupt line %u is taken", gsi);
	return 0;
}

int irq_line_init(struct kvm *kvm, struct irq_line *line, uint32_t gsi, enum irq_trigger trigger)
{
	int result = irq_line_check(kvm->irqs, gsi, trigger);

	if (result)
		return result;
	memset(line, 0, sizeof(*line));
	line->kvm = kvm;
	line->gsi = gsi;
	line->trigger = trigger;
	line->resample_fd = -1;
	atomic_init(&line->fd, -1);
	line->next = kvm->irqs->lines;
	kvm->irqs->lines = line;
	return 0;
}

void irq_line_exit(struct irq_line *line)
{
	struct irq_line **at;

	if (!line->kvm)
		return;
	for (at = &line->kvm->irqs->lines; *at && *at != line; at = &(*at)->next)
		;
	if (*at)
		*at = line->next;
	if (atomic_load(&line->fd) >= 0) {
		irqfd_set(line->kvm, atomic_load(&line->fd), -1, line->gsi, false);
		close(atomic_load(&line->fd));
	}
	event_del(&line->resample);
	if (line->resample_fd >= 0)
		close(line->resample_fd);
	line->kvm = NULL;
}

struct irq_line *irq_line_find(struct kvm *kvm, uint32_t gsi)
{
	struct irq_line *line = kvm->irqs->lines;

	while (line && line->gsi != gsi)
		line = line->next;
	return line;
}

void irq_line_pulse(struct irq_line *line)
{
	irq_line_signal(line);
}

void irq_line_set(struct irq_line *line, bool pending)
{
	/* Going up twice between two EOIs is harmless and costs a write, so only changes are told. */
	if (!atomic_exchange(&line->raised, pending) && pending)
		irq_line_signal(line);
}

static bool irq_line_exists(const struct irqs *irqs, uint32_t gsi)
{
	const struct irq_line *line = irqs->lines;

	while (line && line->gsi != gsi)
		line = line->next;
	return line;
}

int irq_line_alloc(struct kvm *kvm)
{
	uint32_t first, count;

	arch_irq_alloc_range(&first, &count);
	for (uint32_t gsi = first; gsi < first + count; gsi++) {
		if (kvm->irqs->line_taken[gsi] || irq_line_exists(kvm->irqs, gsi))
			continue;
		kvm->irqs->line_taken[gsi] = 1;
		return (int)gsi;
	}
	return log_error(ENOSPC, "interrupt lines: all %u for platform devices are taken", count);
}

void irq_line_free(struct kvm *kvm, uint32_t gsi)
{
	if (gsi < arch_irq_lines())
		kvm->irqs->line_taken[gsi] = 0;
}

int irq_chip_ready(struct kvm *kvm)
{
	struct irqs *irqs = kvm->irqs;
	int result;

	pthread_mutex_lock(&irqs->lock);
	result = irqs_grow_locked(irqs, IRQ_LINE_ENTRIES_MAX);
	if (!result) {
		irqs->line_entries = arch_irq_route_lines(kvm, irqs->table->entries, IRQ_LINE_ENTRIES_MAX);
		result = irqs_commit_locked(kvm);
	}
	pthread_mutex_unlock(&irqs->lock);
	if (result)
		return log_errno(result, "interrupt routing");
	return 0;
}

/* ---- messages ---- */

int irq_message_init(struct kvm *kvm, struct irq_message *message, uint32_t device_id)
{
	memset(message, 0, sizeof(*message));
	message->kvm = kvm;
	message->device_id = device_id;
	message->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return message->fd < 0 ? log_errno(errno, "interrupt message") : 0;
}

static int irq_message_take_gsi_locked(struct irqs *irqs, struct irq_message *message)
{
	for (uint32_t word = 0; word < ARRAY_SIZE(irqs->message_taken); word++) {
		uint64_t free_bits = ~irqs->message_taken[word];
		uint32_t bit;

		if (!free_bits)
			continue;
		bit = (uint32_t)__builtin_ctzll(free_bits);
		irqs->message_taken[word] |= BIT(bit);
		message->gsi = arch_irq_lines() + word * 64 + bit;
		message->has_gsi = true;
		return 0;
	}
	return -ENOSPC;
}

static void irq_message_drop_gsi_locked(struct irqs *irqs, struct irq_message *message)
{
	struct kvm_irq_routing_entry *entry = irqs_find_locked(irqs, message->gsi);
	uint32_t slot = message->gsi - arch_irq_lines();

	if (entry) {
		*entry = irqs->table->entries[irqs->line_entries + irqs->message_entries - 1];
		irqs->message_entries--;
	}
	irqs->message_taken[slot / 64] &= ~BIT(slot % 64);
	message->has_gsi = false;
}

/* Takes a GSI if there is none yet, and writes the route; undone if KVM refuses. */
static int irq_message_write_route_locked(struct irq_message *message)
{
	struct irqs *irqs = message->kvm->irqs;
	bool fresh = !message->has_gsi;
	struct kvm_irq_routing_entry *entry, wanted, old;
	int result;

	result = arch_irq_route_message(message->kvm, message->address, message->data, message->device_id, &wanted);
	if (!result)
		result = irqs_grow_locked(irqs, irqs->line_entries + irqs->message_entries + 1);
	if (!result && fresh)
		result = irq_message_take_gsi_locked(irqs, message);
	if (result)
		return result;
	wanted.gsi = message->gsi;
	if (fresh)
		irqs->table->entries[irqs->line_entries + irqs->message_entries++] = wanted;
	entry = irqs_find_locked(irqs, message->gsi);
	old = *entry;
	*entry = wanted;
	result = irqs_commit_locked(message->kvm);
	if (result && fresh)
		irq_message_drop_gsi_locked(irqs, message);
	else if (result)
		*entry = old;	/* or the next commit would bring it back */
	return result;
}

int irq_message_route(struct irq_message *message, uint64_t address, uint32_t data)
{
	uint64_t old_address = message->address;
	uint32_t old_data = message->data;
	int result = 0;

	if (!message->has_gsi || message->address != address || message->data != data || message->routed_id != message->device_id) {
		message->address = address;
		message->data = data;
		pthread_mutex_lock(&message->kvm->irqs->lock);
		result = irq_message_write_route_locked(message);
		pthread_mutex_unlock(&message->kvm->irqs->lock);
		if (result) {
			message->address = old_address;
			message->data = old_data;
		} else {
			message->routed_id = message->device_id;
		}
	}
	if (!result && !message->routed) {
		result = irqfd_set(message->kvm, message->fd, -1, message->gsi, true);
		message->routed = !result;
	}
	return result;
}

void irq_message_unroute(struct irq_message *message)
{
	if (!message->routed)
		return;
	irqfd_set(message->kvm, message->fd, -1, message->gsi, false);
	message->routed = false;
}

void irq_message_exit(struct irq_message *message)
{
	if (!message->kvm)
		return;
	irq_message_unroute(message);
	if (message->has_gsi) {
		struct irqs *irqs = message->kvm->irqs;

		pthread_mutex_lock(&irqs->lock);
		irq_message_drop_gsi_locked(irqs, message);
		if (irqs_commit_locked(message->kvm))
			log_debug("interrupt message: a stale route stays");
		pthread_mutex_unlock(&irqs->lock);
	}
	if (message->fd >= 0)
		close(message->fd);
	message->kvm = NULL;
	message->fd = -1;
}

void irq_message_raise(struct irq_message *message)
{
	eventfd_signal(message->fd);
}

bool irq_message_consume(struct irq_message *message)
{
	uint64_t count;

	return read(message->fd, &count, sizeof(count)) == sizeof(count);
}

/* ---- life ---- */

int irqs_init(struct kvm *kvm)
{
	struct irqs *irqs = calloc(1, sizeof(*irqs));

	if (!irqs)
		return log_errno(ENOMEM, "interrupts");
	irqs->line_taken = calloc(arch_irq_lines(), 1);
	if (!irqs->line_taken) {
		free(irqs);
		return log_errno(ENOMEM, "interrupts");
	}
	pthread_mutex_init(&irqs->lock, NULL);
	kvm->irqs = irqs;
	return 0;
}

void irqs_exit(struct kvm *kvm)
{
	struct irqs *irqs = kvm->irqs;

	if (!irqs)
		return;
	pthread_mutex_destroy(&irqs->lock);
	free(irqs->table);
	free(irqs->line_taken);
	free(irqs);
	kvm->irqs = NULL;
}

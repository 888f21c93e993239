/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPU threads: the KVM_RUN loop, what an exit means, and the requests that can't be lost.
 *
 * A request is a bit in cpu->requests, set before a signal is sent. The signal's handler sets immediate_exit
 * in the vCPU's kvm_run; the loop clears that first and looks at the bits second, so that a request that
 * comes at any point is either seen, or makes the next KVM_RUN return at once.
 */
#include "kvm/kvm-cpu.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"
#include "kvm/file-memory.h"
#include "kvm/guest-life.h"
#include "kvm/log.h"
#include "kvm/rcu.h"
#include "kvm/thread.h"

#define CPU_SIGNAL	SIGRTMIN

static _Thread_local struct kvm_run *cpu_current_run;

static void cpu_signal(int number)
{
	(void)number;
	/* Not volatile-qualified by the UAPI, but KVM reads it in another context. */
	if (cpu_current_run)
		*(volatile uint8_t *)&cpu_current_run->immediate_exit = 1;
}

void kvm_cpu_request(struct kvm_cpu *cpu, unsigned long bits)
{
	atomic_fetch_or(&cpu->requests, bits);
	if (cpu_current_run == cpu->run)
		cpu_signal(CPU_SIGNAL);
	else if (cpu->started)
		pthread_kill(cpu->thread, CPU_SIGNAL);
}

/* ---- coalesced writes ---- */

static void coalesced_deliver(struct kvm *kvm, const struct kvm_coalesced_mmio *entry)
{
	uint64_t value = 0;

	memcpy(&value, entry->data, MIN((size_t)entry->len, sizeof(entry->data)));
	space_io_write(entry->pio ? &kvm->ports : &kvm->memory, entry->phys_addr, MIN(entry->len, 8U), le64toh(value));
}

void kvm_drain_coalesced(struct kvm *kvm)
{
	struct kvm_coalesced_mmio_ring *ring = kvm->coalesced;
	uint32_t first, max = kvm->coalesced_max;

	if (!ring || __atomic_load_n(&ring->first, __ATOMIC_RELAXED) == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&kvm->coalesced_lock);
	first = ring->first % max;
	while (first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) % max) {
		coalesced_deliver(kvm, &ring->coalesced_mmio[first]);
		first = (first + 1) % max;
		__atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&kvm->coalesced_lock);
}

/* ---- exits ---- */

static void cpu_debug_io(struct kvm_cpu *cpu, bool pio, bool write, uint64_t address, unsigned int size, bool taken)
{
	struct kvm *kvm = cpu->kvm;

	if (!taken && (pio ? kvm->debug_ioport : kvm->debug_mmio))
		log_warn("vCPU %u: nobody takes the %u byte %s %s 0x%llx", cpu->index, size,
			 write ? "write to" : "read from", pio ? "port" : "address", (unsigned long long)address);
}

static void cpu_exit_io(struct kvm_cpu *cpu)
{
	struct kvm_run *run = cpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned int size = run->io.size;
	bool write = run->io.direction == KVM_EXIT_IO_OUT, taken = true;
	struct kvm_debugger *debugger = cpu->kvm->debugger;

	if (__builtin_expect(debugger && debugger->io, 0) && debugger->io(debugger, cpu))
		return;

	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		uint64_t value = 0;

		if (write) {
			memcpy(&value, data, size);
			taken = space_io_write(&cpu->kvm->ports, run->io.port, size, le64toh(value));
		} else {
			taken = space_io_read(&cpu->kvm->ports, run->io.port, size, &value);
			value = htole64(value);
			memcpy(data, &value, size);
		}
	}
	if (__builtin_expect(!taken, 0))
		cpu_debug_io(cpu, true, write, run->io.port, size, taken);
	if (__builtin_expect(cpu->kvm->debug_iodelay_ms, 0))
		usleep(cpu->kvm->debug_iodelay_ms * 1000);
}

static void cpu_exit_mmio(struct kvm_cpu *cpu)
{
	struct kvm_run *run = cpu->run;
	unsigned int size = MIN(run->mmio.len, 8U);
	uint64_t value = 0;
	bool taken;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, size);
		taken = space_io_write(&cpu->kvm->memory, run->mmio.phys_addr, size, le64toh(value));
	} else {
		taken = space_io_read(&cpu->kvm->memory, run->mmio.phys_addr, size, &value);
		value = htole64(value);
		memcpy(run->mmio.data, &value, size);
	}
	if (__builtin_expect(!taken, 0))
		cpu_debug_io(cpu, false, run->mmio.is_write, run->mmio.phys_addr, size, taken);
}

/* The end of the VM by a fault: the reason and the registers first, on stderr, in one piece. */
static void cpu_fatal(struct kvm_cpu *cpu, enum kvm_end end, const char *format, ...) printf_like(3, 4);
static void cpu_fatal(struct kvm_cpu *cpu, enum kvm_end end, const char *format, ...)
{
	va_list arguments;

	/* A panicked kernel may well leave by a triple fault: its own log has said it all. */
	if (!(end == KVM_END_TRIPLE_FAULT && atomic_load(&cpu->kvm->panicked))) {
		va_start(arguments, format);
		log_message_v(LOG_LEVEL_ERROR, format, arguments);
		va_end(arguments);
		arch_cpu_dump(cpu, STDERR_FILENO);
	}
	kvm_end_request(cpu->kvm, end);
}

static void cpu_exit_internal_error(struct kvm_cpu *cpu)
{
	struct kvm_run *run = cpu->run;
	char data[160] = "";
	size_t length = 0;

	for (uint32_t i = 0; i < MIN(run->internal.ndata, 6U) && length < sizeof(data); i++)
		length += (size_t)snprintf(data + length, sizeof(data) - length, " 0x%llx",
					   (unsigned long long)run->internal.data[i]);
	cpu_fatal(cpu, KVM_END_INTERNAL_ERROR, "vCPU %u: KVM internal error, suberror %u (%s)%s%s", cpu->index,
		  run->internal.suberror,
		  run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? "emulation failed" :
		  run->internal.suberror == KVM_INTERNAL_ERROR_SIMUL_EX ? "simultaneous exceptions" :
		  run->internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV ? "event delivery" : "see KVM's api.rst",
		  length ? ", data" : "", data);
}

static void cpu_exit_system_event(struct kvm_cpu *cpu)
{
	switch (cpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		kvm_poweroff_request(cpu->kvm);
		return;
	case KVM_SYSTEM_EVENT_RESET:
		kvm_reset_request(cpu->kvm);
		return;
	case KVM_SYSTEM_EVENT_CRASH:
		kvm_panic_seen(cpu->kvm);
		kvm_end_request(cpu->kvm, KVM_END_PANIC);
		return;
	default:
		log_guest(&cpu->kvm->io_log, "vCPU %u: system event %u is not handled", cpu->index,
			  cpu->run->system_event.type);
	}
}

static void cpu_exit_debug(struct kvm_cpu *cpu)
{
	if (cpu->kvm->debugger)
		cpu->kvm->debugger->stopped(cpu->kvm->debugger, cpu);
	else
		arch_cpu_dump(cpu, STDERR_FILENO);
}

static void cpu_exit_other(struct kvm_cpu *cpu)
{
	int result = arch_cpu_handle_exit(cpu);

	if (result < 0)
		kvm_end_request(cpu->kvm, KVM_END_HOST_ERROR);
	else if (!result)
		cpu_fatal(cpu, KVM_END_INTERNAL_ERROR, "vCPU %u: exit reason %u is not known", cpu->index,
			  cpu->run->exit_reason);
}

static void cpu_handle_exit(struct kvm_cpu *cpu)
{
	struct kvm_run *run = cpu->run;

	cpu->io_pending = false;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		cpu->io_pending = true;
		cpu_exit_io(cpu);
		return;
	case KVM_EXIT_MMIO:
		cpu->io_pending = true;
		cpu_exit_mmio(cpu);
		return;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		cpu_exit_system_event(cpu);
		return;
	case KVM_EXIT_DEBUG:
		cpu_exit_debug(cpu);
		return;
	case KVM_EXIT_SHUTDOWN:
		cpu_fatal(cpu, KVM_END_TRIPLE_FAULT, "vCPU %u: triple fault", cpu->index);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		cpu_fatal(cpu, KVM_END_FAILED_ENTRY, "vCPU %u: the CPU refused to enter the guest, reason 0x%llx",
			  cpu->index, (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		cpu_exit_internal_error(cpu);
		return;
	case KVM_EXIT_UNKNOWN:
		cpu_fatal(cpu, KVM_END_INTERNAL_ERROR, "vCPU %u: unknown hardware exit 0x%llx", cpu->index,
			  (unsigned long long)run->hw.hardware_exit_reason);
		return;
	default:
		cpu->io_pending = true;
		cpu_exit_other(cpu);
	}
}

/* ---- parking ---- */

/* The machine has come to its end: nobody will look at what an I/O instruction still owes, and nobody go on. */
static bool cpu_must_stop(struct kvm_cpu *cpu)
{
	return (atomic_load(&cpu->requests) & CPU_REQUEST_STOP) || atomic_load(&cpu->kvm->end) != KVM_END_NONE;
}

static bool cpu_must_wait(struct kvm_cpu *cpu)
{
	return !cpu_must_stop(cpu) &&
	       ((atomic_load(&cpu->requests) & (CPU_REQUEST_PAUSE | CPU_REQUEST_HOLD | CPU_REQUEST_OFF)) ||
		atomic_load(&cpu->kvm->reset_wanted));
}

/*
 * KVM finishes the instruction of an I/O exit at the next KVM_RUN: without it the registers would be stale. That may
 * bring the instruction's next piece of I/O, or the end of a single step over it.
 */
static void cpu_complete_io(struct kvm_cpu *cpu)
{
	while (cpu->io_pending) {
		cpu->run->immediate_exit = 1;
		if (!ioctl(cpu->fd, KVM_RUN, 0)) {
			RCU_READ_SCOPE();

			cpu_handle_exit(cpu);
			continue;
		}
		if (errno != EINTR)
			log_errno(errno, "vCPU %u: can't complete its I/O", cpu->index);
		cpu->io_pending = false;
	}
}

static void cpu_park(struct kvm_cpu *cpu)
{
	struct kvm *kvm = cpu->kvm;

	cpu_complete_io(cpu);
	pthread_mutex_lock(&kvm->pause_lock);
	kvm->parked++;
	cpu->parked = true;
	while (cpu_must_wait(cpu)) {
		event_loop_nudge(kvm->loop);
		pthread_cond_wait(&kvm->pause_cond, &kvm->pause_lock);
	}
	cpu->parked = false;
	kvm->parked--;
	pthread_mutex_unlock(&kvm->pause_lock);
}

static unsigned int cpus_count(struct kvm *kvm, const unsigned int *counter)
{
	unsigned int count;

	pthread_mutex_lock(&kvm->pause_lock);
	count = *counter;
	pthread_mutex_unlock(&kvm->pause_lock);
	return count;
}

static unsigned int cpus_started(const struct kvm *kvm)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		count += kvm->cpus[i]->started;
	return count;
}

/* A vCPU may be waiting for this very thread to serve a device call, so serve while waiting. */
static void cpus_wait(struct kvm *kvm, const unsigned int *counter)
{
	unsigned int started = cpus_started(kvm);

	while (cpus_count(kvm, counter) < started)
		event_loop_serve_calls(kvm->loop, 10);
}

void kvm_cpus_park(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		kvm_cpu_request(kvm->cpus[i], CPU_REQUEST_PAUSE);
	cpus_wait(kvm, &kvm->parked);
	kvm_drain_coalesced(kvm);
}

void kvm_cpus_unpark(struct kvm *kvm)
{
	pthread_mutex_lock(&kvm->pause_lock);
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		atomic_fetch_and(&kvm->cpus[i]->requests, ~CPU_REQUEST_PAUSE);
	pthread_cond_broadcast(&kvm->pause_cond);
	pthread_mutex_unlock(&kvm->pause_lock);
}

/* ---- the loop ---- */

/* Returns false when the thread has to end. */
static bool cpu_serve_requests(struct kvm_cpu *cpu)
{
	unsigned long requests;

	if (cpu_must_wait(cpu))
		cpu_park(cpu);
	if (cpu_must_stop(cpu))
		return false;
	requests = atomic_load(&cpu->requests);
	if (requests & CPU_REQUEST_THROTTLE) {
		atomic_fetch_and(&cpu->requests, ~CPU_REQUEST_THROTTLE);
		/* a signal, of whoever wants something else, ends it */
		usleep(atomic_load(&cpu->kvm->throttle_us));
	}
	if (requests & CPU_REQUEST_NMI) {
		int result;

		atomic_fetch_and(&cpu->requests, ~CPU_REQUEST_NMI);
		result = arch_cpu_nmi(cpu);
		if (result)
			log_errno(result, "vCPU %u: NMI", cpu->index);
	}
	return true;
}

static bool cpu_idle_requests(struct kvm_cpu *cpu)
{
	return !atomic_load(&cpu->requests) && !atomic_load_explicit(&cpu->kvm->reset_wanted, memory_order_relaxed) &&
	       atomic_load_explicit(&cpu->kvm->end, memory_order_relaxed) == KVM_END_NONE;
}

/* The guest touched memory that a file has lost: it is there again, this time. */
static bool cpu_memory_is_mended(struct kvm_cpu *cpu)
{
	unsigned int before = cpu->mends;

	cpu->mends = file_memory_mend();
	return cpu->mends != before;
}

static void cpu_loop(struct kvm_cpu *cpu)
{
	for (;;) {
		int result, error;

		/* First clear, then look: see the top of this file. */
		*(volatile uint8_t *)&cpu->run->immediate_exit = 0;
		atomic_thread_fence(memory_order_seq_cst);
		if (!cpu_idle_requests(cpu) && !cpu_serve_requests(cpu))
			return;

		result = ioctl(cpu->fd, KVM_RUN, 0);
		error = errno;
		atomic_store_explicit(&cpu->exits, atomic_load_explicit(&cpu->exits, memory_order_relaxed) + 1,
				      memory_order_relaxed);
		kvm_drain_coalesced(cpu->kvm);
		if (result < 0 && error == EFAULT && cpu_memory_is_mended(cpu))
			continue;
		if (result < 0 && error != EINTR && error != EAGAIN) {
			cpu_fatal(cpu, KVM_END_HOST_ERROR, "vCPU %u: KVM_RUN: %s", cpu->index, strerrordesc_np(error));
		} else if (!result) {
			RCU_READ_SCOPE();

			cpu_handle_exit(cpu);
		} else {
			cpu->io_pending = false;
		}
	}
}

static void *cpu_thread(void *opaque)
{
	struct kvm_cpu *cpu = opaque;
	struct kvm *kvm = cpu->kvm;

	cpu_current_run = cpu->run;
	guest_life_mark(cpu->kvm, KVM_MARK_RUN);
	cpu_loop(cpu);
	cpu_current_run = NULL;

	/* Who wants to see it parked may: it is, for good. */
	pthread_mutex_lock(&kvm->pause_lock);
	cpu->parked = true;
	kvm->parked++;
	kvm->exited++;
	pthread_mutex_unlock(&kvm->pause_lock);
	event_loop_nudge(kvm->loop);
	return NULL;
}

int kvm_cpu_start(struct kvm_cpu *cpu)
{
	int result;

	cpu->parked = false;
	result = thread_start(&cpu->thread, cpu_thread, cpu, "kvm-vcpu-%u", cpu->index);
	if (result)
		return log_errno(result, "vCPU %u: no thread", cpu->index);
	cpu->started = true;
	if (cpu->affinity && thread_pin(cpu->thread, cpu->affinity))
		log_warn("vCPU %u: can't be kept on the CPUs of --vcpu-affinity", cpu->index);
	return 0;
}

int kvm_cpus_start(struct kvm *kvm)
{
	struct sigaction action = { .sa_handler = cpu_signal };
	int result = 0;

	sigaction(CPU_SIGNAL, &action, NULL);
	kvm->parked = kvm->exited = 0;
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++)
		result = kvm_cpu_start(kvm->cpus[i]);
	return result;
}

void kvm_cpus_stop(struct kvm *kvm)
{
	pthread_mutex_lock(&kvm->pause_lock);
	for (unsigned int i = 0; i < kvm->cpu_count; i++) {
		/* A signal would wake one that is parked twice, and one that has ended needs none. */
		if (kvm->cpus[i]->parked)
			atomic_fetch_or(&kvm->cpus[i]->requests, CPU_REQUEST_STOP);
		else
			kvm_cpu_request(kvm->cpus[i], CPU_REQUEST_STOP);
	}
	pthread_cond_broadcast(&kvm->pause_cond);
	pthread_mutex_unlock(&kvm->pause_lock);
	cpus_wait(kvm, &kvm->exited);
	for (unsigned int i = 0; i < kvm->cpu_count; i++) {
		if (kvm->cpus[i]->started)
			pthread_join(kvm->cpus[i]->thread, NULL);
		kvm->cpus[i]->started = false;
	}
}

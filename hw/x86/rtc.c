/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CMOS RTC: time of day, alarm, periodic interrupt and 128 bytes of RAM behind ports 0x70 and 0x71.
 *
 * Motorola MC146818A. The clock is the host's plus an offset, which a guest that sets the time changes; the
 * offset survives a reset as a battery would keep it. Nothing ticks: flags are worked out when the guest
 * looks, from the time that has passed since it looked last. A timer runs only while an interrupt is enabled
 * whose flag is still clear, so that a guest gets at most one event for each time that it reads register C.
 *
 * vCPUs access the registers, the timer runs on the main loop; `lock` guards both.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "kvm/device.h"
#include "kvm/kvm.h"
#include "kvm/rcu.h"

#define RTC_BASE	0x70
#define RTC_GSI		8
#define NS_PER_S	1000000000ULL
#define RTC_UPDATE_NS	244000		/* UIP is set so long before the seconds change */

enum rtc_register {
	RTC_SECONDS, RTC_SECONDS_ALARM, RTC_MINUTES, RTC_MINUTES_ALARM, RTC_HOURS, RTC_HOURS_ALARM,
	RTC_WEEKDAY, RTC_DAY, RTC_MONTH, RTC_YEAR, RTC_A, RTC_B, RTC_C, RTC_D,
	RTC_EQUIPMENT = 0x14, RTC_BASE_MEMORY = 0x15, RTC_EXTENDED_MEMORY = 0x17, RTC_EXTENDED_MEMORY_2 = 0x30,
	RTC_CENTURY = 0x32, RTC_MEMORY_16M = 0x34, RTC_MEMORY_4G = 0x5b,
};

#define A_UIP		0x80
#define A_DIVIDER	0x70		/* 010: runs on 32768 Hz; 11x: held in reset */
#define A_RATE		0x0f
#define B_SET		0x80
#define B_PERIODIC	0x40		/* the enables stand where the flags of C do */
#define B_ALARM		0x20
#define B_UPDATE	0x10
#define B_SOURCES	(B_PERIODIC | B_ALARM | B_UPDATE)
#define B_BINARY	0x04
#define B_24_HOURS	0x02
#define C_IRQ		0x80
#define D_VALID		0x80
#define ALARM_ANY	0xc0		/* from here on an alarm byte matches everything */
#define HOURS_PM	0x80

struct rtc {
	struct device device;
	struct region region;
	struct coalesced index_writes;
	struct irq_line irq;
	struct event_timer timer;

	pthread_mutex_t lock;		/* guards all below */
	uint8_t index;
	uint8_t cmos[128];		/* the time's bytes are valid while B_SET stops the clock */
	uint64_t offset_s;		/* guest's time minus host's, modulo 2^64 */
	uint64_t looked_ns;		/* guest's time when the flags in C were brought up to date */
	bool quiesced;
};

static const char rtc_key;

/* ---- the time ---- */

/* The guest's time in nanoseconds since 1970. */
static uint64_t rtc_now_ns(const struct rtc *rtc)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t)now.tv_sec + rtc->offset_s) * NS_PER_S + (uint64_t)now.tv_nsec;
}

static bool rtc_running(const struct rtc *rtc)
{
	return !(rtc->cmos[RTC_B] & B_SET) && (rtc->cmos[RTC_A] & 0x60) != 0x60;
}

static uint8_t rtc_encode(const struct rtc *rtc, unsigned int value)
{
	return (uint8_t)(rtc->cmos[RTC_B] & B_BINARY ? value : value / 10 % 10 << 4 | value % 10);
}

static unsigned int rtc_decode(const struct rtc *rtc, uint8_t byte)
{
	return rtc->cmos[RTC_B] & B_BINARY ? byte : (byte >> 4) * 10U + (byte & 15);
}

static uint8_t rtc_encode_hour(const struct rtc *rtc, unsigned int hour)
{
	uint8_t half = hour >= 12 ? HOURS_PM : 0;

	if (rtc->cmos[RTC_B] & B_24_HOURS)
		return rtc_encode(rtc, hour);
	hour %= 12;
	return rtc_encode(rtc, hour ? hour : 12) | half;
}

static unsigned int rtc_decode_hour(const struct rtc *rtc, uint8_t byte)
{
	unsigned int hour;

	if (rtc->cmos[RTC_B] & B_24_HOURS)
		return rtc_decode(rtc, byte);
	hour = rtc_decode(rtc, byte & 0x7f) % 12;
	return byte & HOURS_PM ? hour + 12 : hour;
}

static void rtc_store_time_locked(struct rtc *rtc, uint64_t now_ns)
{
	time_t seconds = (time_t)(now_ns / NS_PER_S);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm))
		return;
	rtc->cmos[RTC_SECONDS] = rtc_encode(rtc, (unsigned int)tm.tm_sec);
	rtc->cmos[RTC_MINUTES] = rtc_encode(rtc, (unsigned int)tm.tm_min);
	rtc->cmos[RTC_HOURS] = rtc_encode_hour(rtc, (unsigned int)tm.tm_hour);
	rtc->cmos[RTC_WEEKDAY] = rtc_encode(rtc, (unsigned int)tm.tm_wday + 1);
	rtc->cmos[RTC_DAY] = rtc_encode(rtc, (unsigned int)tm.tm_mday);
	rtc->cmos[RTC_MONTH] = rtc_encode(rtc, (unsigned int)tm.tm_mon + 1);
	rtc->cmos[RTC_YEAR] = rtc_encode(rtc, (unsigned int)tm.tm_year % 100);
	rtc->cmos[RTC_CENTURY] = rtc_encode(rtc, (unsigned int)tm.tm_year / 100 + 19);
}

/* The guest set the time: nonsense is carried over, as 61 seconds are one minute and one second. */
static void rtc_take_time_locked(struct rtc *rtc)
{
	struct tm tm = {
		.tm_sec = (int)rtc_decode(rtc, rtc->cmos[RTC_SECONDS]),
		.tm_min = (int)rtc_decode(rtc, rtc->cmos[RTC_MINUTES]),
		.tm_hour = (int)rtc_decode_hour(rtc, rtc->cmos[RTC_HOURS]),
		.tm_mday = (int)rtc_decode(rtc, rtc->cmos[RTC_DAY]),
		.tm_mon = (int)rtc_decode(rtc, rtc->cmos[RTC_MONTH]) - 1,
		.tm_year = ((int)rtc_decode(rtc, rtc->cmos[RTC_CENTURY]) - 19) * 100 +
			   (int)rtc_decode(rtc, rtc->cmos[RTC_YEAR]),
	};
	time_t guest = timegm(&tm);

	/* Nanoseconds since 1970 must fit 64 bits: years 1970 to 2500 will do. */
	guest = MAX(guest, (time_t)0);
	guest = MIN(guest, (time_t)16725225600);
	rtc->offset_s = (uint64_t)guest - (uint64_t)time(NULL);
	rtc->looked_ns = rtc_now_ns(rtc);
}

/* ---- flags and interrupts ---- */

/* Nanoseconds between two periodic interrupts, or 0 for none. Never under 122 µs. */
static uint64_t rtc_period_ns(const struct rtc *rtc)
{
	unsigned int rate = rtc->cmos[RTC_A] & A_RATE;

	if (!rate || (rtc->cmos[RTC_A] & 0x60) == 0x60)
		return 0;
	/* The two fastest rates don't exist on this crystal, and stand for slower ones. */
	if (rate <= 2)
		rate += 7;
	return NS_PER_S * (1U << (rate - 1)) / 32768;
}

static bool rtc_alarm_matches(const struct rtc *rtc, enum rtc_register alarm, unsigned int value)
{
	uint8_t byte = rtc->cmos[alarm];

	if (byte >= ALARM_ANY)
		return true;
	return value == (alarm == RTC_HOURS_ALARM ? rtc_decode_hour(rtc, byte) : rtc_decode(rtc, byte));
}

/* The first second after @after_ns at which the alarm matches, as nanoseconds; UINT64_MAX if it never does. */
static uint64_t rtc_next_alarm_ns(const struct rtc *rtc, uint64_t after_ns)
{
	uint64_t second = after_ns / NS_PER_S + 1, end = second + 2 * 86400ULL;

	while (second < end) {
		if (!rtc_alarm_matches(rtc, RTC_HOURS_ALARM, second / 3600 % 24))
			second = (second / 3600 + 1) * UINT64_C(3600);
		else if (!rtc_alarm_matches(rtc, RTC_MINUTES_ALARM, second / 60 % 60))
			second = (second / 60 + 1) * UINT64_C(60);
		else if (!rtc_alarm_matches(rtc, RTC_SECONDS_ALARM, second % 60))
			second++;
		else
			return second * NS_PER_S;
	}
	return UINT64_MAX;
}

/* When @source's flag is set next, seen from @after_ns; UINT64_MAX for never. */
static uint64_t rtc_next_event_ns(const struct rtc *rtc, uint8_t source, uint64_t after_ns)
{
	uint64_t period = rtc_period_ns(rtc);

	if (source == B_PERIODIC)
		return period ? (after_ns / period + 1) * period : UINT64_MAX;
	if (!rtc_running(rtc))
		return UINT64_MAX;
	return source == B_UPDATE ? (after_ns / NS_PER_S + 1) * NS_PER_S : rtc_next_alarm_ns(rtc, after_ns);
}

/* Sets what flags the time since the last look has brought, interrupts if that is due, arms the timer. */
static void rtc_update_locked(struct rtc *rtc)
{
	uint64_t now = rtc_now_ns(rtc), next = UINT64_MAX, event;
	uint8_t *c = &rtc->cmos[RTC_C], enabled = rtc->cmos[RTC_B] & B_SOURCES;

	/* A host clock that was set back starts a new interval. */
	if (now < rtc->looked_ns)
		rtc->looked_ns = now;
	for (uint8_t source = B_UPDATE; source <= B_PERIODIC; source <<= 1) {
		event = rtc_next_event_ns(rtc, source, rtc->looked_ns);
		if (event <= now)
			*c |= source;
		else if ((enabled & source) && !(*c & source))
			next = MIN(next, event);
	}
	rtc->looked_ns = now;
	if (!(*c & enabled)) {
		*c &= (uint8_t)~C_IRQ;
	} else if (!(*c & C_IRQ)) {
		*c |= C_IRQ;
		irq_line_pulse(&rtc->irq);
	}
	/*
	 * While the request is up, further events change nothing that can't wait until C is read. A timer that
	 * is armed already may fire for nothing: cancelling it would wait for a callback that wants the lock.
	 */
	if (!rtc->quiesced && !(*c & C_IRQ) && next != UINT64_MAX)
		event_timer_set(&rtc->timer, event_now_ns() + (next - now));
}

static void rtc_expired(struct event_timer *timer)
{
	struct rtc *rtc = container_of(timer, struct rtc, timer);

	pthread_mutex_lock(&rtc->lock);
	if (!rtc->quiesced)
		rtc_update_locked(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

/* ---- registers ---- */

static bool rtc_is_time(uint8_t index)
{
	return index == RTC_CENTURY ||
	       (index <= RTC_YEAR && index != RTC_SECONDS_ALARM && index != RTC_MINUTES_ALARM &&
		index != RTC_HOURS_ALARM);
}

static uint8_t rtc_read_a(const struct rtc *rtc)
{
	bool updating = rtc_running(rtc) && rtc_now_ns(rtc) % NS_PER_S >= NS_PER_S - RTC_UPDATE_NS;

	return rtc->cmos[RTC_A] | (updating ? A_UIP : 0);
}

static uint8_t rtc_read_c_locked(struct rtc *rtc)
{
	uint8_t flags;

	rtc_update_locked(rtc);
	flags = rtc->cmos[RTC_C];
	rtc->cmos[RTC_C] = 0;
	rtc_update_locked(rtc);
	return flags;
}

static uint8_t rtc_read_register_locked(struct rtc *rtc)
{
	switch (rtc->index) {
	case RTC_A:
		return rtc_read_a(rtc);
	case RTC_C:
		return rtc_read_c_locked(rtc);
	default:
		if (rtc_is_time(rtc->index) && rtc_running(rtc))
			rtc_store_time_locked(rtc, rtc_now_ns(rtc));
		return rtc->cmos[rtc->index];
	}
}

/* A and B may stop the clock, which keeps its time then, or start it from what was written meanwhile. */
static void rtc_write_control_locked(struct rtc *rtc, uint8_t value)
{
	bool ran = rtc_running(rtc);

	rtc_update_locked(rtc);
	if (ran)
		rtc_store_time_locked(rtc, rtc_now_ns(rtc));
	if (rtc->index == RTC_A)
		rtc->cmos[RTC_A] = value & (A_DIVIDER | A_RATE);
	else
		/* Stopping the clock takes the update interrupt away. */
		rtc->cmos[RTC_B] = value & B_SET ? value & (uint8_t)~B_UPDATE : value;
	if (!ran && rtc_running(rtc))
		rtc_take_time_locked(rtc);
	rtc_update_locked(rtc);
}

static void rtc_write_time_locked(struct rtc *rtc, uint8_t value)
{
	if (rtc_running(rtc))
		rtc_store_time_locked(rtc, rtc_now_ns(rtc));
	rtc->cmos[rtc->index] = value;
	if (rtc_running(rtc)) {
		rtc_take_time_locked(rtc);
		rtc_update_locked(rtc);
	}
}

static void rtc_write_register_locked(struct rtc *rtc, uint8_t value)
{
	switch (rtc->index) {
	case RTC_A:
	case RTC_B:
		rtc_write_control_locked(rtc, value);
		break;
	case RTC_C:
	case RTC_D:
		break;	/* read-only */
	case RTC_SECONDS_ALARM:
	case RTC_MINUTES_ALARM:
	case RTC_HOURS_ALARM:
		rtc_update_locked(rtc);
		rtc->cmos[rtc->index] = value;
		rtc_update_locked(rtc);
		break;
	default:
		if (rtc_is_time(rtc->index))
			rtc_write_time_locked(rtc, value);
		else
			rtc->cmos[rtc->index] = value;
	}
}

static uint64_t rtc_read(struct rtc *rtc, uint64_t offset, unsigned int size)
{
	uint8_t value;

	(void)size;
	pthread_mutex_lock(&rtc->lock);
	value = offset == 0 ? rtc->index : rtc_read_register_locked(rtc);
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

static void rtc_write(struct rtc *rtc, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)size;
	pthread_mutex_lock(&rtc->lock);
	if (offset == 0)
		rtc->index = value & 0x7f;	/* bit 7 masks NMIs, which nothing here raises */
	else
		rtc_write_register_locked(rtc, (uint8_t)value);
	pthread_mutex_unlock(&rtc->lock);
}

IO_OPS(rtc_io_ops, struct rtc, rtc_read, rtc_write, 1, 1);

/* ---- device ---- */

/* The reset pin: interrupts off, the rest is on the battery. */
static void rtc_reset(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	rtc->index = 0;
	rtc->cmos[RTC_B] &= (uint8_t)~B_SOURCES;
	rtc->cmos[RTC_C] = 0;
	pthread_mutex_unlock(&rtc->lock);
}

static int rtc_quiesce(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	rtc->quiesced = true;
	pthread_mutex_unlock(&rtc->lock);
	event_timer_cancel(&rtc->timer);
	return 0;
}

static void rtc_resume(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	rtc->quiesced = false;
	rtc_update_locked(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static const struct state_field rtc_fields[] = {
	STATE_U8_MAX(struct rtc, index, 127),
	STATE_BYTES(struct rtc, cmos),
	STATE_U64(struct rtc, offset_s),
	STATE_U64(struct rtc, looked_ns),
};
STATE_TABLE(rtc_state, "rtc", 1, rtc_fields);

static void rtc_save(struct device *device, struct state_writer *writer)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	state_save(writer, &rtc_state, rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static int rtc_load(struct device *device, struct state_reader *reader)
{
	struct rtc *rtc = container_of(device, struct rtc, device);
	int error;

	pthread_mutex_lock(&rtc->lock);
	error = state_load(reader, &rtc_state, rtc);
	pthread_mutex_unlock(&rtc->lock);
	return error;
}

static const struct device_ops rtc_device_ops = {
	.reset		= rtc_reset,
	.quiesce	= rtc_quiesce,
	.resume		= rtc_resume,
	.save		= rtc_save,
	.load		= rtc_load,
};

static void rtc_store(struct rtc *rtc, enum rtc_register at, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		rtc->cmos[at + i] = (uint8_t)(value >> (i * 8));
}

/* What a BIOS finds there: real-mode software still looks at it. */
static void rtc_store_memory(struct kvm *kvm, struct rtc *rtc)
{
	uint64_t low = kvm->ram_count ? kvm->ram[0].base + kvm->ram[0].size : 0, high = 0, kib;

	for (unsigned int i = 1; i < kvm->ram_count; i++)
		high += kvm->ram[i].size;
	kib = low > MIB(1) ? (low - MIB(1)) >> 10 : 0;
	rtc_store(rtc, RTC_BASE_MEMORY, 640, 2);
	rtc_store(rtc, RTC_EXTENDED_MEMORY, MIN(kib, UINT64_C(0xffff)), 2);
	rtc_store(rtc, RTC_EXTENDED_MEMORY_2, MIN(kib, UINT64_C(0xffff)), 2);
	rtc_store(rtc, RTC_MEMORY_16M, low > MIB(16) ? MIN((low - MIB(16)) >> 16, UINT64_C(0xffff)) : 0, 2);
	rtc_store(rtc, RTC_MEMORY_4G, high >> 16, 3);
}

static void rtc_power_on(struct kvm *kvm, struct rtc *rtc)
{
	rtc->cmos[RTC_A] = 0x26;		/* 32768 Hz crystal, 1024 Hz periodic */
	rtc->cmos[RTC_B] = B_24_HOURS;
	rtc->cmos[RTC_D] = D_VALID;
	rtc->cmos[RTC_EQUIPMENT] = 0x02;	/* a coprocessor, no floppies */
	rtc_store_memory(kvm, rtc);
	rtc->looked_ns = rtc_now_ns(rtc);
}

static int rtc_init(struct kvm *kvm)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int error;

	if (!rtc)
		return -ENOMEM;
	pthread_mutex_init(&rtc->lock, NULL);
	event_timer_init(kvm->loop, &rtc->timer, rtc_expired);
	rtc_power_on(kvm, rtc);
	error = irq_line_init(kvm, &rtc->irq, RTC_GSI, IRQ_EDGE);
	if (error)
		goto out_free;
	error = device_add(kvm, &rtc->device, &rtc_device_ops, "rtc");
	if (error)
		goto out_irq;
	region_init_io(&rtc->region, "rtc", &rtc_io_ops, rtc, 2);
	error = region_add(&kvm->ports, &rtc->region, RTC_BASE, 1);
	if (error)
		goto out_device;
	/* The index need not be known before the data is accessed, which halves the exits. */
	rtc->index_writes.size = 1;
	error = region_coalesce(&rtc->region, &rtc->index_writes);
	if (!error)
		error = kvm_set_state(kvm, &rtc_key, rtc);
	if (!error)
		return 0;

	region_del(&rtc->region);
	rcu_synchronize();
out_device:
	device_del(&rtc->device);
out_irq:
	irq_line_exit(&rtc->irq);
out_free:
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
	return error;
}
dev_init(rtc_init);

static void rtc_exit(struct kvm *kvm)
{
	struct rtc *rtc = kvm_get_state(kvm, &rtc_key);

	if (kvm_set_state(kvm, &rtc_key, NULL) < 0)
		return;
	region_uncoalesce(&rtc->region, &rtc->index_writes);
	region_del(&rtc->region);
	rcu_synchronize();
	event_timer_cancel(&rtc->timer);
	device_del(&rtc->device);
	irq_line_exit(&rtc->irq);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}
dev_exit(rtc_exit);

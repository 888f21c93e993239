/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PL031 real-time clock (Arm DDI 0224): seconds of the host's clock, an offset that the guest may load, and
 * an alarm that raises a level interrupt.
 *
 * Registers are accessed by vCPUs, the alarm's timer runs on the VM's main loop; @lock guards all registers.
 */
#include <pthread.h>
#include <time.h>

#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/log.h"
#include "kvm/rcu.h"
#include "primecell.h"

#define RTC_BASE	0x1010000ULL
#define RTC_PART	0x031

#define RTC_DR		0x00	/* data: the time */
#define RTC_MR		0x04	/* match: the alarm */
#define RTC_LR		0x08	/* load: sets the time */
#define RTC_CR		0x0c	/* control: it runs, always */
#define RTC_IMSC	0x10	/* interrupt mask */
#define RTC_RIS		0x14	/* raw status */
#define RTC_MIS		0x18	/* masked status */
#define RTC_ICR		0x1c	/* clear */

struct rtc {
	struct device device;
	struct kvm *kvm;
	struct region region;
	struct irq_line irq;
	struct event_timer alarm;
	struct platform_device platform;

	pthread_mutex_t lock;		/* guards all below; leaf */
	uint32_t offset;		/* guest's time less the host's, modulo 2^32 */
	uint32_t match, load;
	uint8_t mask, status;
	bool armed;			/* the match was written since the alarm last went off */
	bool quiesced;
};

static const char rtc_key;

static const struct state_field rtc_fields[] = {
	STATE_U32(struct rtc, offset),	     STATE_U32(struct rtc, match),
	STATE_U32(struct rtc, load),	     STATE_U8_MAX(struct rtc, mask, 1),
	STATE_U8_MAX(struct rtc, status, 1), STATE_BOOL(struct rtc, armed),
};
STATE_TABLE(rtc_state, "pl031", 1, rtc_fields);

static uint32_t host_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint32_t)now.tv_sec;
}

static uint32_t rtc_now_locked(const struct rtc *rtc)
{
	return host_seconds() + rtc->offset;
}

static void rtc_update_irq_locked(struct rtc *rtc)
{
	irq_line_set(&rtc->irq, rtc->status & rtc->mask);
}

/* rtc_set_alarm_locked() - arms the timer for when the counter, which wraps, reaches the match */
static void rtc_set_alarm_locked(struct rtc *rtc)
{
	uint32_t wait = rtc->match - rtc_now_locked(rtc);

	if (!rtc->armed || rtc->quiesced)
		return;
	event_timer_set(&rtc->alarm, event_now_ns() + (uint64_t)wait * 1000000000);
}

static void rtc_alarm(struct event_timer *timer)
{
	struct rtc *rtc = container_of(timer, struct rtc, alarm);

	pthread_mutex_lock(&rtc->lock);
	if (rtc->armed && !rtc->quiesced) {
		rtc->armed = false;
		rtc->status = 1;
		rtc_update_irq_locked(rtc);
	}
	pthread_mutex_unlock(&rtc->lock);
}

/* ---- registers ---- */

static uint32_t rtc_register_locked(const struct rtc *rtc, uint64_t offset)
{
	switch (offset) {
	case RTC_DR:	return rtc_now_locked(rtc);
	case RTC_MR:	return rtc->match;
	case RTC_LR:	return rtc->load;
	case RTC_CR:	return 1;
	case RTC_IMSC:	return rtc->mask;
	case RTC_RIS:	return rtc->status;
	case RTC_MIS:	return rtc->status & rtc->mask;
	default:	return 0;
	}
}

static uint64_t rtc_read(struct rtc *rtc, uint64_t offset, unsigned int size)
{
	uint32_t value;

	(void)size;
	if (offset >= PRIMECELL_ID)
		return primecell_id(RTC_PART, offset);
	pthread_mutex_lock(&rtc->lock);
	value = rtc_register_locked(rtc, offset);
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

static void rtc_write(struct rtc *rtc, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)size;
	pthread_mutex_lock(&rtc->lock);
	switch (offset) {
	case RTC_MR:
		rtc->match = (uint32_t)value;
		rtc->armed = true;
		rtc_set_alarm_locked(rtc);
		break;
	case RTC_LR:
		rtc->load = (uint32_t)value;
		rtc->offset = rtc->load - host_seconds();
		rtc_set_alarm_locked(rtc);
		break;
	case RTC_IMSC:
		rtc->mask = value & 1;
		rtc_update_irq_locked(rtc);
		break;
	case RTC_ICR:
		rtc->status &= ~(value & 1);
		rtc_update_irq_locked(rtc);
		break;
	}
	pthread_mutex_unlock(&rtc->lock);
}

IO_OPS(rtc_ops, struct rtc, rtc_read, rtc_write, 4, 4);

/* ---- the device ---- */

static void rtc_reset(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	event_timer_cancel(&rtc->alarm);
	pthread_mutex_lock(&rtc->lock);
	rtc->offset = rtc->match = rtc->load = 0;
	rtc->mask = rtc->status = 0;
	rtc->armed = false;
	rtc_update_irq_locked(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

static int rtc_quiesce(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	rtc->quiesced = true;
	pthread_mutex_unlock(&rtc->lock);
	/* Not with the lock held: it waits for rtc_alarm(). */
	event_timer_cancel(&rtc->alarm);
	return 0;
}

static void rtc_resume(struct device *device)
{
	struct rtc *rtc = container_of(device, struct rtc, device);

	pthread_mutex_lock(&rtc->lock);
	rtc->quiesced = false;
	/* An alarm that fell due meanwhile goes off now, not when the counter has wrapped. */
	if (rtc->armed && (int32_t)(rtc->match - rtc_now_locked(rtc)) < 0)
		event_timer_set(&rtc->alarm, event_now_ns());
	else
		rtc_set_alarm_locked(rtc);
	rtc_update_irq_locked(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

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
	.reset = rtc_reset,
	.quiesce = rtc_quiesce,
	.resume = rtc_resume,
	.save = rtc_save,
	.load = rtc_load,
};

/* ---- registration ---- */

static int rtc_create(struct kvm *kvm, struct rtc *rtc)
{
	int gsi = irq_line_alloc(kvm), error;

	if (gsi < 0)
		return gsi;
	rtc->platform = (struct platform_device){
		.compatible = "arm,pl031",
		.base = RTC_BASE,
		.size = PRIMECELL_SIZE,
		.gsi = gsi,
		.trigger = IRQ_LEVEL,
	};
	error = irq_line_init(kvm, &rtc->irq, (uint32_t)gsi, IRQ_LEVEL);
	if (error < 0)
		goto out_gsi;
	event_timer_init(kvm->loop, &rtc->alarm, rtc_alarm);
	region_init_io(&rtc->region, "rtc", &rtc_ops, rtc, PRIMECELL_SIZE);
	error = region_add(&kvm->memory, &rtc->region, RTC_BASE, 1);
	if (error < 0)
		goto out_irq;
	error = device_add(kvm, &rtc->device, &rtc_device_ops, "rtc");
	if (error < 0)
		goto out_region;
	platform_device_add(kvm, &rtc->platform);
	return 0;

out_region:
	region_del(&rtc->region);
	rcu_synchronize();
out_irq:
	irq_line_exit(&rtc->irq);
out_gsi:
	irq_line_free(kvm, (uint32_t)gsi);
	return error;
}

static void rtc_destroy(struct rtc *rtc)
{
	platform_device_del(rtc->kvm, &rtc->platform);
	device_del(&rtc->device);
	event_timer_cancel(&rtc->alarm);
	region_del(&rtc->region);
	rcu_synchronize();
	irq_line_exit(&rtc->irq);
	irq_line_free(rtc->kvm, (uint32_t)rtc->platform.gsi);
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}

static int rtc_init(struct kvm *kvm)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int error;

	if (!rtc)
		return log_errno(ENOMEM, "rtc");
	rtc->kvm = kvm;
	pthread_mutex_init(&rtc->lock, NULL);
	error = rtc_create(kvm, rtc);
	if (error < 0)
		goto out_free;
	error = kvm_set_state(kvm, &rtc_key, rtc);
	if (error < 0)
		rtc_destroy(rtc);
	return error;

out_free:
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
	return error;
}

static void rtc_exit(struct kvm *kvm)
{
	struct rtc *rtc = kvm_get_state(kvm, &rtc_key);

	if (kvm_set_state(kvm, &rtc_key, NULL) == 0)
		rtc_destroy(rtc);
}

dev_init(rtc_init);
dev_exit(rtc_exit);

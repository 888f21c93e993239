/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PL061 GPIO (Arm DDI 0190) with the power key on pin 3: the tree's gpio-keys node makes KEY_POWER of it, and
 * systemd or acpid power the guest off.
 *
 * Registers are accessed by vCPUs; the key is pressed and let go on the VM's main loop; @lock guards all
 * registers. Pins are inputs but for what the guest drives, and nothing hangs on those.
 */
#include <pthread.h>

#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/log.h"
#include "kvm/rcu.h"
#include "primecell.h"

#define GPIO_BASE	0x1030000ULL
#define GPIO_PART	0x061

#define GPIO_DATA_END	0x400	/* the address's bits 9 to 2 are a mask of pins */
#define GPIO_DIR	0x400
#define GPIO_IS		0x404	/* level sensitive */
#define GPIO_IBE	0x408	/* both edges */
#define GPIO_IEV	0x40c	/* rising edge or high */
#define GPIO_IE		0x410	/* enabled */
#define GPIO_RIS	0x414
#define GPIO_MIS	0x418
#define GPIO_IC		0x41c
#define GPIO_AFSEL	0x420

#define POWER_KEY	BIT(3)
#define PRESS_NS	100000000ULL	/* past the driver's debouncing */

struct gpio {
	struct device device;
	struct kvm *kvm;
	struct region region;
	struct irq_line irq;
	struct event_timer release;
	struct platform_device platform;

	pthread_mutex_t lock;		/* guards all below; leaf */
	uint8_t input;			/* what is on the pins */
	uint8_t output, direction;	/* what the guest drives */
	uint8_t sense, both, event, enable, select;
	uint8_t latched;		/* edges seen */
};

static const char gpio_key;

static const struct state_field gpio_fields[] = {
	STATE_U8_MAX(struct gpio, input, POWER_KEY),
	STATE_U8(struct gpio, output),
	STATE_U8(struct gpio, direction),
	STATE_U8(struct gpio, sense),
	STATE_U8(struct gpio, both),
	STATE_U8(struct gpio, event),
	STATE_U8(struct gpio, enable),
	STATE_U8(struct gpio, select),
	STATE_U8(struct gpio, latched),
};
STATE_TABLE(gpio_state, "pl061", 1, gpio_fields);

static uint8_t gpio_pins_locked(const struct gpio *gpio)
{
	return (gpio->input & ~gpio->direction) | (gpio->output & gpio->direction);
}

static uint8_t gpio_status_locked(const struct gpio *gpio)
{
	uint8_t active = ~(gpio_pins_locked(gpio) ^ gpio->event);

	return (gpio->sense & active) | (gpio->latched & ~gpio->sense);
}

static void gpio_update_irq_locked(struct gpio *gpio)
{
	irq_line_set(&gpio->irq, gpio_status_locked(gpio) & gpio->enable);
}

static void gpio_set_input(struct gpio *gpio, uint8_t pins)
{
	uint8_t before, after, wanted;

	pthread_mutex_lock(&gpio->lock);
	before = gpio_pins_locked(gpio);
	gpio->input = pins;
	after = gpio_pins_locked(gpio);
	wanted = gpio->both | ~(after ^ gpio->event);
	gpio->latched |= (before ^ after) & wanted & ~gpio->sense;
	gpio_update_irq_locked(gpio);
	pthread_mutex_unlock(&gpio->lock);
}

static void gpio_release(struct event_timer *timer)
{
	gpio_set_input(container_of(timer, struct gpio, release), 0);
}

static void gpio_press_power(void *opaque)
{
	struct gpio *gpio = opaque;

	gpio_set_input(gpio, POWER_KEY);
	event_timer_set(&gpio->release, event_now_ns() + PRESS_NS);
}

/* ---- registers ---- */

static uint8_t gpio_register_locked(const struct gpio *gpio, uint64_t offset)
{
	switch (offset) {
	case GPIO_DIR:	 return gpio->direction;
	case GPIO_IS:	 return gpio->sense;
	case GPIO_IBE:	 return gpio->both;
	case GPIO_IEV:	 return gpio->event;
	case GPIO_IE:	 return gpio->enable;
	case GPIO_RIS:	 return gpio_status_locked(gpio);
	case GPIO_MIS:	 return gpio_status_locked(gpio) & gpio->enable;
	case GPIO_AFSEL: return gpio->select;
	default:
		return offset < GPIO_DATA_END ? gpio_pins_locked(gpio) & (uint8_t)(offset >> 2) : 0;
	}
}

static uint64_t gpio_read(struct gpio *gpio, uint64_t offset, unsigned int size)
{
	uint8_t value;

	(void)size;
	if (offset >= PRIMECELL_ID)
		return primecell_id(GPIO_PART, offset);
	pthread_mutex_lock(&gpio->lock);
	value = gpio_register_locked(gpio, offset);
	pthread_mutex_unlock(&gpio->lock);
	return value;
}

static void gpio_write_register_locked(struct gpio *gpio, uint64_t offset, uint8_t value)
{
	uint8_t mask = (uint8_t)(offset >> 2);

	switch (offset) {
	case GPIO_DIR:	 gpio->direction = value; break;
	case GPIO_IS:	 gpio->sense = value; break;
	case GPIO_IBE:	 gpio->both = value; break;
	case GPIO_IEV:	 gpio->event = value; break;
	case GPIO_IE:	 gpio->enable = value; break;
	case GPIO_IC:	 gpio->latched &= ~value; break;
	case GPIO_AFSEL: gpio->select = value; break;
	default:
		if (offset < GPIO_DATA_END)
			gpio->output = (gpio->output & ~mask) | (value & mask);
	}
}

static void gpio_write(struct gpio *gpio, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)size;
	pthread_mutex_lock(&gpio->lock);
	gpio_write_register_locked(gpio, offset, (uint8_t)value);
	gpio_update_irq_locked(gpio);
	pthread_mutex_unlock(&gpio->lock);
}

/* Linux's driver accesses it in bytes, the identity in words. */
IO_OPS(gpio_ops, struct gpio, gpio_read, gpio_write, 1, 4);

/* ---- the device ---- */

static void gpio_reset(struct device *device)
{
	struct gpio *gpio = container_of(device, struct gpio, device);

	event_timer_cancel(&gpio->release);
	pthread_mutex_lock(&gpio->lock);
	gpio->input = gpio->output = gpio->direction = 0;
	gpio->sense = gpio->both = gpio->event = gpio->enable = gpio->select = gpio->latched = 0;
	gpio_update_irq_locked(gpio);
	pthread_mutex_unlock(&gpio->lock);
}

static int gpio_quiesce(struct device *device)
{
	struct gpio *gpio = container_of(device, struct gpio, device);

	event_timer_cancel(&gpio->release);
	return 0;
}

static void gpio_resume(struct device *device)
{
	struct gpio *gpio = container_of(device, struct gpio, device);

	pthread_mutex_lock(&gpio->lock);
	if (gpio->input)
		event_timer_set(&gpio->release, event_now_ns() + PRESS_NS);
	gpio_update_irq_locked(gpio);
	pthread_mutex_unlock(&gpio->lock);
}

static void gpio_save(struct device *device, struct state_writer *writer)
{
	struct gpio *gpio = container_of(device, struct gpio, device);

	pthread_mutex_lock(&gpio->lock);
	state_save(writer, &gpio_state, gpio);
	pthread_mutex_unlock(&gpio->lock);
}

static int gpio_load(struct device *device, struct state_reader *reader)
{
	struct gpio *gpio = container_of(device, struct gpio, device);
	int error;

	pthread_mutex_lock(&gpio->lock);
	error = state_load(reader, &gpio_state, gpio);
	pthread_mutex_unlock(&gpio->lock);
	return error;
}

static const struct device_ops gpio_device_ops = {
	.reset = gpio_reset,
	.quiesce = gpio_quiesce,
	.resume = gpio_resume,
	.save = gpio_save,
	.load = gpio_load,
};

/* ---- registration ---- */

static int gpio_create(struct kvm *kvm, struct gpio *gpio)
{
	int gsi = irq_line_alloc(kvm), error;

	if (gsi < 0)
		return gsi;
	gpio->platform = (struct platform_device){
		.compatible = "arm,pl061",
		.base = GPIO_BASE,
		.size = PRIMECELL_SIZE,
		.gsi = gsi,
		.trigger = IRQ_LEVEL,
	};
	error = irq_line_init(kvm, &gpio->irq, (uint32_t)gsi, IRQ_LEVEL);
	if (error < 0)
		goto out_gsi;
	event_timer_init(kvm->loop, &gpio->release, gpio_release);
	region_init_io(&gpio->region, "gpio", &gpio_ops, gpio, PRIMECELL_SIZE);
	error = region_add(&kvm->memory, &gpio->region, GPIO_BASE, 1);
	if (error < 0)
		goto out_irq;
	error = device_add(kvm, &gpio->device, &gpio_device_ops, "gpio");
	if (error < 0)
		goto out_region;
	platform_device_add(kvm, &gpio->platform);
	kvm_set_power_button(kvm, gpio_press_power, gpio);
	return 0;

out_region:
	region_del(&gpio->region);
	rcu_synchronize();
out_irq:
	irq_line_exit(&gpio->irq);
out_gsi:
	irq_line_free(kvm, (uint32_t)gsi);
	return error;
}

static void gpio_destroy(struct gpio *gpio)
{
	kvm_set_power_button(gpio->kvm, NULL, NULL);
	platform_device_del(gpio->kvm, &gpio->platform);
	device_del(&gpio->device);
	event_timer_cancel(&gpio->release);
	region_del(&gpio->region);
	rcu_synchronize();
	irq_line_exit(&gpio->irq);
	irq_line_free(gpio->kvm, (uint32_t)gpio->platform.gsi);
	pthread_mutex_destroy(&gpio->lock);
	free(gpio);
}

static int gpio_init(struct kvm *kvm)
{
	struct gpio *gpio = calloc(1, sizeof(*gpio));
	int error;

	if (!gpio)
		return log_errno(ENOMEM, "gpio");
	gpio->kvm = kvm;
	pthread_mutex_init(&gpio->lock, NULL);
	error = gpio_create(kvm, gpio);
	if (error < 0) {
		pthread_mutex_destroy(&gpio->lock);
		free(gpio);
		return error;
	}
	error = kvm_set_state(kvm, &gpio_key, gpio);
	if (error < 0)
		gpio_destroy(gpio);
	return error;
}

static void gpio_exit(struct kvm *kvm)
{
	struct gpio *gpio = kvm_get_state(kvm, &gpio_key);

	if (kvm_set_state(kvm, &gpio_key, NULL) == 0)
		gpio_destroy(gpio);
}

dev_init(gpio_init);
dev_exit(gpio_exit);

/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/plug.c, control/plug.c: devices that come and go, what they leave behind, and guests that let go of them or don't. */
#include "tests/unit/pci-function.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "control/control-internal.h"
#include "kvm/disk.h"
#include "kvm/net.h"
#include "kvm/pci-port.h"
#include "kvm/plug.h"
#include "kvm/virtio.h"
#include "tests/unit/folder.h"

static char lines[2048];

static void keep_line(enum log_level level, const char *line)
{
	(void)level;
	snprintf(lines, sizeof(lines), "%s", line);
}

/* A machine of two slots, with what --plug says in them, whose guest runs. */
static void machine_start(const char *plug)
{
	static const char *const parts[] = { "pci_init", "disks_init", "networks_init", "pci_ports_init", "plugs_init" };

	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "root-ports", "2"), 0);
	ck_assert_int_eq(config_set(kvm->config, "nodefaults", "true"), 0);
	if (plug)
		ck_assert_int_eq(config_set(kvm->config, "plug", plug), 0);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		board_add(kvm, parts[i]);
	bus = pci_bus(kvm);
	guest_ram_add(&guest, &kvm->memory);
	kvm->started_ns = 1;
}

static void machine_end(void)
{
	board_destroy(kvm);
	guest_ram_remove(&guest);
}

static void setup_plugs(void)
{
	int fd;

	log_set_sink(keep_line);
	folder_enter();
	fd = open("image", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, MIB(1)), 0);
	close(fd);
	machine_start(NULL);
}

static void teardown_plugs(void)
{
	machine_end();
	folder_leave();
	log_set_sink(NULL);
}

static struct plug *put_in(const char *option, const char *text)
{
	struct plug *plug;

	ck_assert_msg(!plug_open(kvm, option, text, NULL, &plug), "%s", lines);
	ck_assert_msg(!plug_insert(plug, NULL), "%s", lines);
	return plug;
}

/* ---- the guest's side ---- */

static unsigned int express_of(unsigned int index)
{
	struct pci_device *bridge = pci_port_bridge(pci_port(kvm, index));
	unsigned int at = bridge->config[PCI_CAPABILITY_LIST];

	while (bridge->config[at] != PCI_CAP_ID_EXP)
		at = bridge->config[at + 1];
	return at;
}

static void slot_control(unsigned int index, uint32_t value)
{
	pci_config_write(bus, 0, pci_port_bridge(pci_port(kvm, index))->devfn, express_of(index) + PCI_EXP_SLTCTL, value, 2);
}

#define BAR_AT 0x600000000ULL

/* As a kernel does: power, windows, BAR 4; then a driver that gets as far as FEATURES_OK. */
static void guest_drives(unsigned int index)
{
	unsigned int devfn = pci_port_bridge(pci_port(kvm, index))->devfn, number = index + 1;

	slot_control(index, PCI_EXP_SLTCTL_PWR_IND_ON);
	ck_assert_uint_eq(pci_config_read(bus, number, 0, PCI_VENDOR_ID, 2) & 0xffff, 0x1af4);
	pci_config_write(bus, 0, devfn, PCI_PREF_MEMORY_BASE, 0x00110001, 4);
	pci_config_write(bus, 0, devfn, PCI_PREF_BASE_UPPER32, 6, 4);
	pci_config_write(bus, 0, devfn, PCI_PREF_LIMIT_UPPER32, 6, 4);
	pci_config_write(bus, 0, devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	pci_config_write(bus, number, 0, PCI_BASE_ADDRESS_4, 0, 4);
	pci_config_write(bus, number, 0, PCI_BASE_ADDRESS_5, 6, 4);
	pci_config_write(bus, number, 0, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	space_io_write(&kvm->memory, BAR_AT + VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	space_io_write(&kvm->memory, BAR_AT + VIRTIO_PCI_COMMON_GF, 4, 1);
	space_io_write(&kvm->memory, BAR_AT + VIRTIO_PCI_COMMON_STATUS, 1, 11);
	ck_assert_uint_eq(memory_in(BAR_AT + VIRTIO_PCI_COMMON_STATUS, 1), 11);
}

static void turn(void)
{
	event_loop_poll(kvm->loop, 0);
}

/* ---- what there is of this process ---- */

struct usage {
	unsigned int fds, threads, mappings;
};

static unsigned int folder_count(const char *path)
{
	DIR *folder = opendir(path);
	unsigned int count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static struct usage usage_now(void)
{
	struct usage usage = { folder_count("/proc/self/fd"), folder_count("/proc/self/task"), 0 };
	FILE *maps = fopen("/proc/self/maps", "r");
	int c;

	while ((c = getc(maps)) != EOF)
		usage.mappings += c == '\n';
	fclose(maps);
	return usage;
}

static const struct { const char *option, *text; } kinds[] = {
	{ "disk", "image,id=x" }, { "network", "user,id=x" }, { "rng", ",id=x" },
};

START_TEST(a_device_comes_and_goes_a_hundred_times_and_leaves_nothing)
{
	struct usage before = { 0 }, after;

	for (unsigned int i = 0; i < 101; i++) {
		struct plug *plug = put_in(kinds[_i].option, kinds[_i].text);

		guest_drives(0);
		/* torn out, or let go of */
		if (i % 2) {
			plug_remove(plug);
		} else {
			ck_assert_int_eq(plug_ask(plug, 1000), 0);
			slot_control(0, PCI_EXP_SLTCTL_PCC);
			turn();
		}
		ck_assert_ptr_null(plug_first(kvm));
		ck_assert_ptr_null(pci_port_bridge(pci_port(kvm, 0))->behind);
		/* loops of their own, and what is loaded once */
		if (!i)
			before = usage_now();
	}
	after = usage_now();
	ck_assert_uint_eq(after.fds, before.fds);
	ck_assert_uint_eq(after.threads, before.threads);
	/* allocators map as they like, a sanitizer's more than others; a leak would be one a round */
	ck_assert_uint_le(after.mappings, before.mappings + 40);
	ck_assert_uint_eq(disks_count(kvm), 0);
}
END_TEST

START_TEST(an_image_is_free_again_when_its_disk_is_out)
{
	struct plug *second, *plug = put_in("disk", "image,id=x"), *third;

	ck_assert_int_lt(plug_open(kvm, "disk", "image", NULL, &second), 0);
	ck_assert_ptr_nonnull(disks_find(kvm, "x"));
	plug_remove(plug);
	ck_assert_ptr_null(disks_find(kvm, "x"));
	third = put_in("disk", "image,id=y");
	plug_remove(third);
}
END_TEST

static const struct { const char *option, *text, *because; } wrong[] = {
	{ "disk", "nosuch", "nosuch" }, { "disk", "image,if=scsi", "can't be put into a slot as a SCSI disk" },
	{ "disk", "image,nonsense=1", "nonsense" }, { "disk", "image,port=2", "none of the 2 root ports" },
	{ "disk", ".", "it is no image" }, { "network", "none", "no network is nothing" }, { "network", "mode=nosuch", "nosuch" },
	{ "disk", "image,id=7", "is no name for a device" }, { "disk", "image,id=taken", "is called 'taken' already" },
	{ "disk", "image,iothread=nosuch", "nosuch" }, { "disk", "image,port=0", "has a device already" },
	{ "rng", "x", "takes no 'x'" }, { "balloon", "", "can't be put into a slot" },
};

START_TEST(what_is_wrong_is_said_and_leaves_nothing_behind)
{
	struct usage before, after;
	struct plug *plug, *there = put_in("rng", ",id=taken,port=0");
	int result;

	before = usage_now();
	result = plug_open(kvm, wrong[_i].option, wrong[_i].text, NULL, &plug);
	if (!result) {
		result = plug_insert(plug, NULL);
		plug_close(plug);
	}
	ck_assert_int_lt(result, 0);
	ck_assert_msg(strstr(lines, wrong[_i].because) != NULL, "expected '%s' in '%s'", wrong[_i].because, lines);
	after = usage_now();
	/* the loop of disks, or of networks, stays */
	ck_assert_uint_le(after.threads, before.threads + 1);
	ck_assert_ptr_eq(plug_first(kvm), there);
	ck_assert_ptr_null(there->next);
	ck_assert_uint_eq(disks_count(kvm), 0);
	ck_assert_uint_eq(config_count(kvm->config, "plug"), 1);
}
END_TEST

START_TEST(slots_run_out)
{
	struct plug *plug;

	put_in("rng", "");
	put_in("rng", "");
	ck_assert_int_eq(plug_open(kvm, "rng", "", NULL, &plug), 0);
	ck_assert_int_eq(plug_insert(plug, NULL), -ENOSPC);
	plug_close(plug);
	ck_assert_ptr_nonnull(plug_find(kvm, "plug0"));
	ck_assert_ptr_nonnull(plug_find(kvm, "plug1"));
}
END_TEST

/* ---- consent ---- */

START_TEST(a_guest_says_no_or_nothing)
{
	struct plug *plug = put_in("rng", ",id=x");

	guest_drives(0);
	ck_assert_int_eq(plug_ask(plug, 10000), 0);
	ck_assert_int_eq(plug_ask(plug, 10000), -EALREADY);
	slot_control(0, PCI_EXP_SLTCTL_PWR_IND_BLINK);
	slot_control(0, PCI_EXP_SLTCTL_PWR_IND_ON);
	turn();
	ck_assert_int_eq(plug->state, PLUG_REFUSED);
	ck_assert_int_eq(plug_ask(plug, 1), 0);
	board_poll(kvm, 30);
	ck_assert_int_eq(plug->state, PLUG_UNANSWERED);
	ck_assert_uint_eq(memory_in(BAR_AT + VIRTIO_PCI_COMMON_STATUS, 1), 11);
	/* too late is the guest's own doing: the device stays, off */
	slot_control(0, PCI_EXP_SLTCTL_PCC);
	turn();
	ck_assert_ptr_eq(plug_find(kvm, "x"), plug);
	ck_assert_int_eq(plug_ask(plug, 10000), 0);
	turn();
	ck_assert_ptr_null(plug_find(kvm, "x"));
}
END_TEST

START_TEST(power_that_goes_unasked_resets_the_device)
{
	struct plug *plug = put_in("disk", "image,id=x");

	guest_drives(0);
	slot_control(0, PCI_EXP_SLTCTL_PCC);
	slot_control(0, PCI_EXP_SLTCTL_PWR_IND_ON);
	ck_assert_uint_eq(pci_config_read(bus, 1, 0, 0, 4), UINT32_MAX);
	turn();
	ck_assert_uint_eq(atomic_load(&plug->device->status), 0);
	guest_drives(0);
}
END_TEST

START_TEST(a_reset_in_the_middle_takes_it_out)
{
	struct plug *plug = put_in("disk", "image,id=x");

	guest_drives(0);
	ck_assert_int_eq(plug_ask(plug, 10000), 0);
	devices_reset(kvm);
	turn();
	ck_assert_ptr_null(plug_first(kvm));
}
END_TEST

/* ---- machines that are made like this one ---- */

START_TEST(options_say_what_is_in_and_state_goes_with_it)
{
	struct plug *plug = put_in("disk", "image,ro"), *other = put_in("rng", ",id=other");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	plug_remove(plug);
	put_in("disk", "image,ro,id=x,port=0");
	ck_assert_uint_eq(config_count(kvm->config, "plug"), 2);
	ck_assert_str_eq(config_item(kvm->config, "plug", 0), "rng:,id=other,port=1");
	ck_assert_str_eq(config_item(kvm->config, "plug", 1), "disk:image,ro,id=x,port=0");
	plug_remove(other);
	guest_drives(0);
	devices_save(kvm, &writer);
	ck_assert_int_eq(writer.error, 0);
	machine_end();

	machine_start("disk:image,ro,id=x,port=0");
	ck_assert_ptr_nonnull(device_find(kvm, "virtio-blk-x"));
	ck_assert_ptr_nonnull(disks_find(kvm, "x"));
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_msg(!devices_load(kvm, &reader), "%s", lines);
	ck_assert_uint_eq(memory_in(BAR_AT + VIRTIO_PCI_COMMON_STATUS, 1), 11);
	/* one that is empty is another machine */
	machine_end();
	machine_start(NULL);
	reader.position = 0;
	ck_assert(devices_load(kvm, &reader) < 0 || reader.position < reader.length);
	state_writer_free(&writer);
}
END_TEST

/* ---- QMP ---- */

static struct qmp_session session;

static const char *qmp(const char *message)
{
	static char reply[2048];
	char *text;

	session = (struct qmp_session){ .kvm = kvm, .negotiated = true };
	text = qmp_handle(&session, message, strlen(message));
	snprintf(reply, sizeof(reply), "%s", text ? text : "nothing");
	free(text);
	return reply;
}

#define GOOD(message)		ck_assert_str_eq(qmp(message), "{\"return\":{}}")
#define BAD(message, because)	do { const char *said_ = qmp(message); ck_assert_msg(strstr(said_, "GenericError") && strstr(said_, because), "%s", said_); } while (0)

START_TEST(clients_name_backs_and_devices_apart)
{
	GOOD("{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"raw\",\"node-name\":\"n\",\"file\":{\"driver\":\"file\",\"filename\":\"image\"},\"cache\":{\"no-flush\":true}}}");
	BAD("{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"n\",\"filename\":\"image\"}}", "Duplicate");
	BAD("{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"m\",\"filename\":\"image\"}}", "image");
	BAD("{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"raw\",\"node-name\":\"m\",\"file\":\"n\"}}", "object");
	BAD("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"drive\":\"nosuch\"}}", "nosuch");
	BAD("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"e1000\"}}", "e1000");
	BAD("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"drive\":\"n\",\"bus\":\"root-port7\"}}", "none of the 2");
	GOOD("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"drive\":\"n\",\"id\":\"d\",\"serial\":\"S,1\",\"bus\":\"root-port1\"}}");
	ck_assert_str_eq(disk_info(disks_find(kvm, "d"))->serial, "S,1");
	ck_assert_uint_eq(plug_find(kvm, "d")->port_index, 1);
	BAD("{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"n\"}}", "in use by device 'd'");
	BAD("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"drive\":\"n\",\"id\":\"e\"}}", "in use");
	GOOD("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"d\"}}");
	BAD("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"d\"}}", "already in the process of unplug");
	GOOD("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"d\",\"x-force\":true}}");
	BAD("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"d\"}}", "not found");
	/* the back is still there, and may be had again */
	GOOD("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-blk\",\"drive\":\"n\",\"id\":\"d2\"}}");
	plug_remove(plug_find(kvm, "d2"));
	GOOD("{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"n\"}}");
	ck_assert_ptr_null(plug_first(kvm));
}
END_TEST

START_TEST(networks_are_told_by_clients)
{
	GOOD("{\"execute\":\"netdev_add\",\"arguments\":{\"type\":\"user\",\"id\":\"u\"}}");
	GOOD("{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"virtio-net-pci\",\"netdev\":\"u\",\"id\":\"n\",\"mac\":\"02:00:00:00:00:07\"}}");
	ck_assert_ptr_nonnull(device_find(kvm, "virtio-net-n"));
	GOOD("{\"execute\":\"set_link\",\"arguments\":{\"name\":\"n\",\"up\":false}}");
	ck_assert_msg(strstr(qmp("{\"execute\":\"x-lkvm-query-devices\"}"), "\"state\":\"in\"") != NULL, "a device that is in");
	GOOD("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"n\",\"x-force\":true}}");
	GOOD("{\"execute\":\"netdev_del\",\"arguments\":{\"id\":\"u\"}}");
	BAD("{\"execute\":\"netdev_add\",\"arguments\":{\"type\":\"nosuch\",\"id\":\"u\"}}", "nosuch");
	ck_assert_ptr_null(plug_first(kvm));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "plugs", setup_plugs, teardown_plugs);

	tcase_add_loop_test(tcase, a_device_comes_and_goes_a_hundred_times_and_leaves_nothing, 0, ARRAY_SIZE(kinds));
	tcase_add_test(tcase, an_image_is_free_again_when_its_disk_is_out);
	tcase_add_loop_test(tcase, what_is_wrong_is_said_and_leaves_nothing_behind, 0, ARRAY_SIZE(wrong));
	tcase_add_test(tcase, slots_run_out);
	tcase_add_test(tcase, a_guest_says_no_or_nothing);
	tcase_add_test(tcase, power_that_goes_unasked_resets_the_device);
	tcase_add_test(tcase, a_reset_in_the_middle_takes_it_out);
	tcase_add_test(tcase, options_say_what_is_in_and_state_goes_with_it);
	tcase_add_test(tcase, clients_name_backs_and_devices_apart);
	tcase_add_test(tcase, networks_are_told_by_clients);
}
SUITE_MAIN("plug", add_tests)

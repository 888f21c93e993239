/* SPDX-License-Identifier: BSD-2-Clause */
/* Options of others whose device a daemon may have, or the host's kernel: they leave such to vhost/. */
#ifndef KVM_VHOST_OPTION_H
#define KVM_VHOST_OPTION_H

#include <stdbool.h>

/** disk_is_vhost_user() - of -d: "vhost-user:PATH"; fs_is_vhost_user() - of --fs: "TAG,socket=PATH" */
#define DISK_VHOST_USER	"vhost-user:"
bool disk_is_vhost_user(const char *text);
bool fs_is_vhost_user(const char *text);
/** vsock_is_vhost() - of --vsock: with vhost=1, which is the host's kernel's (vhost/vsock.c) */
bool vsock_is_vhost(const char *text);

/** disk_is_vhost_scsi() - of -d: "scsi:WWPN", a target of the host's kernel (vhost/scsi.c) */
#define DISK_VHOST_SCSI		"scsi:"
bool disk_is_vhost_scsi(const char *text);

#endif

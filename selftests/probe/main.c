// SPDX-License-Identifier: GPL-2.0
/*
 * A witness for what the direct map holds.
 *
 * Tests must not believe what the kernel under test says about its own direct
 * map, so this module looks for itself: at the page tables, and with reads that
 * may fault from every CPU, which tell whether a TLB still knows an entry that
 * the page tables no longer have.
 */
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

int (*set_valid_noflush)(struct page *page, unsigned int nr, bool valid);
void (*flush_range)(unsigned long start, unsigned long end);
int (*soft_offline)(unsigned long pfn, int flags);
unsigned long static_start, static_end;
void **pools;
void *(*alias_map)(struct folio *folio, size_t offset);
void (*alias_unmap)(struct folio *folio, void *addr);
struct delayed_work *held_work;
#ifdef CONFIG_CPU_LOCAL_MAP
int (*local_init)(void);
void *(*local_map)(struct cpu_local_map *map, struct page **pages, unsigned int nr);
void (*local_unmap)(struct cpu_local_map *map);
pte_t *(*lookup_in_pgd)(pgd_t *pgd, unsigned long addr, unsigned int *level);
#endif

/*
 * None of these is exported, and kallsyms_lookup_name() isn't either, but a
 * kprobe knows where it is.  The rest works without them.
 */
static void find_symbols(void)
{
	struct kprobe kp = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long (*lookup)(const char *name);

	if (register_kprobe(&kp))
		return;
	unregister_kprobe(&kp);

	lookup = (void *)kp.addr;
#ifdef CONFIG_X86_KERNEL_IBT
	/* The probe sits behind ENDBR, where an indirect call must not go. */
	if (~*((u32 *)kp.addr - 1) == ~0xfa1e0ff3u)
		lookup = (void *)kp.addr - 4;
#endif
	set_valid_noflush = (void *)lookup("set_direct_map_valid_noflush");
#ifdef CONFIG_ARM64
	/* There is no function. */
	flush_range = flush_tlb_kernel_range;
#else
	flush_range = (void *)lookup("flush_tlb_kernel_range");
#endif
	soft_offline = (void *)lookup("soft_offline_page");
	static_start = lookup("_sdata");
	static_end = lookup("_end");
	pools = (void **)lookup("ndm_pools");
	alias_map = (void *)lookup("folio_alias_map");
	alias_unmap = (void *)lookup("folio_alias_unmap");
	held_work = (void *)lookup("ndm_held_work");
#ifdef CONFIG_CPU_LOCAL_MAP
	local_init = (void *)lookup("cpu_local_map_init");
	local_map = (void *)lookup("cpu_local_map");
	local_unmap = (void *)lookup("cpu_local_unmap");
	lookup_in_pgd = (void *)lookup("lookup_address_in_pgd");
#endif
}

/* The device */

static int probe_open(struct inode *inode, struct file *file)
{
	struct session *s;

	if (!capable(CAP_SYS_RAWIO))
		return -EPERM;

	s = kzalloc_obj(*s);
	if (!s)
		return -ENOMEM;
	mutex_init(&s->lock);
	file->private_data = s;
	return 0;
}

static int probe_release(struct inode *inode, struct file *file)
{
	struct session *s = file->private_data;

	if (s->watch)
		do_stop(s, NULL);
	do_put(s);
	own_free(s);
	removals_stop(s);
	effort_stop(s);
	kfree(s);
	return 0;
}

static long probe_ioctl(struct file *file, unsigned int cmd, unsigned long data)
{
	struct session *s = file->private_data;
	void __user *user = (void __user *)data;
	union {
		struct ndm_check check;
		struct ndm_map map;
		struct ndm_scan scan;
		struct ndm_watch watch;
		struct ndm_watched watched;
		struct ndm_arm arm;
		struct ndm_hold hold;
		struct ndm_gup gup;
		struct ndm_flushes flushes;
		struct ndm_own own;
		struct ndm_soft_offline soft_offline;
		struct ndm_alias alias;
		struct ndm_local local;
		struct ndm_removals removals;
		struct ndm_clear_mce clear_mce;
		struct ndm_effort effort;
		struct ndm_turn turn;
		struct ndm_new_cpu new_cpu;
	} arg;
	long ret = 0;

	if (_IOC_SIZE(cmd) > sizeof(arg))
		return -ENOTTY;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) &&
	    copy_from_user(&arg, user, _IOC_SIZE(cmd)))
		return -EFAULT;

	mutex_lock(&s->lock);
	switch (cmd) {
	case NDM_IOC_CHECK:
		ret = do_check(&arg.check);
		break;
	case NDM_IOC_MAP:
		ret = do_map(&arg.map);
		break;
	case NDM_IOC_SCAN:
		ret = do_scan(&arg.scan);
		break;
	case NDM_IOC_WATCH:
		ret = do_watch(s, &arg.watch);
		break;
	case NDM_IOC_ARM:
		ret = do_arm(s, &arg.arm);
		break;
	case NDM_IOC_STOP:
		ret = do_stop(s, &arg.watched);
		break;
	case NDM_IOC_HOLD:
		ret = do_hold(s, &arg.hold);
		break;
	case NDM_IOC_PUT:
		do_put(s);
		break;
	case NDM_IOC_GUP:
		ret = do_gup(&arg.gup);
		break;
	case NDM_IOC_FLUSHES:
		do_flushes(&arg.flushes);
		break;
	case NDM_IOC_OWN:
		ret = do_own(s, &arg.own);
		break;
	case NDM_IOC_SOFT_OFFLINE:
		ret = do_soft_offline(&arg.soft_offline);
		break;
	case NDM_IOC_ALIAS:
		ret = do_alias(s, &arg.alias);
		break;
	case NDM_IOC_LOCAL:
		ret = do_local(&arg.local);
		break;
	case NDM_IOC_REMOVALS:
		ret = do_removals(s, &arg.removals);
		break;
	case NDM_IOC_EFFORT:
		ret = do_effort(s, &arg.effort);
		break;
	case NDM_IOC_CLEAR_MCE:
		ret = do_clear_mce(&arg.clear_mce);
		break;
	case NDM_IOC_TURN:
		ret = do_turn(&arg.turn);
		break;
	case NDM_IOC_NEW_CPU:
		ret = do_new_cpu(&arg.new_cpu);
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&s->lock);

	if (!ret && (_IOC_DIR(cmd) & _IOC_READ) &&
	    copy_to_user(user, &arg, _IOC_SIZE(cmd)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations probe_fops = {
	.owner		= THIS_MODULE,
	.open		= probe_open,
	.release	= probe_release,
	.unlocked_ioctl	= probe_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice probe_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "ndm_probe",
	.fops	= &probe_fops,
	.mode	= 0600,
};

static int __init probe_init(void)
{
	int err;

	flushes_start();
	find_symbols();

	err = misc_register(&probe_device);
	if (err)
		flushes_stop();
	return err;
}

static void __exit probe_exit(void)
{
	misc_deregister(&probe_device);
	flushes_stop();
}

module_init(probe_init);
module_exit(probe_exit);

MODULE_DESCRIPTION("Tells what the direct map holds, page tables and TLBs");
MODULE_LICENSE("GPL");

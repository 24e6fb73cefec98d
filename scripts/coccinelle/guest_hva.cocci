// SPDX-License-Identifier: GPL-2.0-only
/// List who gets at guest memory by its userspace address, or by a page that was
/// looked up by that address.  Private guest_memfd memory has no such address:
/// each use must be one of those that scripts/coccinelle/guest_hva.allow explains.
///
// Confidence: High

@ call @
position p;
identifier f =~ "^(__)?(kvm_vcpu_)?gfn_to_hva(_many|_prot|_memslot|_memslot_prot)?$|^hva_to_pfn|^kvm_follow_pfn$|^(__)?gfn_to_page$|^gfn_to_hva_memslot$|^kvm_prefetch_pages$|^(__)?kvm_(get|put)_guest$";
@@

f@p(...)

@ member @
position p;
expression E;
@@

E->userspace_addr@p

@ cached @
position p;
struct gfn_to_hva_cache *c;
@@

c->hva@p

@ script:python depends on call @
p << call.p;
f << call.f;
@@

# A declaration isn't in a function.
if p[0].current_element != "something_else":
    print("%s:%s: %s()" % (p[0].file, p[0].current_element, f))

@ script:python depends on member @
p << member.p;
@@

print("%s:%s: ->userspace_addr" % (p[0].file, p[0].current_element))

@ script:python depends on cached @
p << cached.p;
@@

print("%s:%s: gfn_to_hva_cache.hva" % (p[0].file, p[0].current_element))

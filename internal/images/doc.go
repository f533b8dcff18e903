// Package images brings container images to the local ECI: from OCI layouts on
// disk and from registries, unpacked into root file systems that any number of
// containers share as their lower layer.
//
// An image is unpacked once, under the digest of its configuration, which names
// every layer by the digest of its content. All layers of an image go into one
// directory instead of one each: an overlay of many layers meets the kernel's
// limit of one page for mount options, and whiteouts in directories of their own
// need rights that a user namespace does not have. What two images have in common
// is therefore unpacked twice.
//
// It also asks registries what a tag stands for (Digest), for image-cache refresh.
//
// Errors of a pull have the words of containerd, which ECI shows in its events.
package images

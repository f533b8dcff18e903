// Package docs holds pages for readers to each other: the README's translations to
// the README, pictures to the packages. What one package's page says, that package's tests hold.
package docs

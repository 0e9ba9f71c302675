// Package importer brings an archive of photos into the registry: a folder with one subfolder per case, or a CSV manifest.
//
// A case is known again by its reference (the subfolder's name, or the manifest's case column) and a photo by its
// content, so that importing the same archive twice adds nothing twice, and an import that was interrupted goes on where
// it stopped. Every file gets an outcome, and what was not taken gets a reason.
package importer

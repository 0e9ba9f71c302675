// Package importer brings an archive of photos into the registry: a folder, a ZIP or a TAR archive with one subfolder per case, or with
// a manifest (CSV or XLSX) that says which photo is whose.
//
// A case is known again by its reference (the subfolder's name, or the manifest's case column) and a photo by its content, so that
// importing the same archive twice adds nothing twice. An import is a job of the registry: interrupted at any moment, it goes on with
// the first file of which nothing is on record yet, since what becomes of a photo is noted in the transaction that stores it. Every
// file gets an outcome, and what was not taken gets a reason.
//
// Nothing is held in memory that grows with the number of files, but the directory of a ZIP archive and, of all photos there are, how
// they look (16 bytes each).
package importer

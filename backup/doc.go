// Package backup keeps copies of a registry in another folder, and makes a registry of them again. A backup is taken while the
// registry is in use, writes only what it does not have yet, is encrypted, and is read back as it is written.
//
// # Words
//
// A backup is a folder that belongs to one registry. A snapshot is the registry as it was at one moment; snapshots are numbered from 1.
// A chunk is a piece of a database, compressed and encrypted; equal pieces are kept once, whichever snapshots they belong to.
//
// # In the folder
//
//	header, header.copy  whose backup it is, and its keys, sealed by the operator's key
//	snapshots/000012     what snapshot 12 is made of
//	chunks/ab/ab…        chunks, named by a keyed hash of what is in them
//	photos/ab/ab…        photos as they lie in the registry, encrypted, named by the SHA-256 of the file
//	damaged/…            empty files, named as chunks or photos that were found damaged: the next backup looks at these again
//	tmp/                 files being written
//	lock                 taken while a process writes (exclusively) or reads (shared)
//
// Folders made here are 0700 and files 0600.
//
// # What is durable
//
// A file appears under its name once it is whole, on disk, and has been read back from there. A snapshot's own file is written last,
// when the names of all that it is made of are on disk too. A backup that is killed at any moment therefore leaves either a whole
// snapshot or none; what it copied is used by the next one.
//
// # What is secret
//
// All of it but the number of files, their sizes and times. The names of photo files say nothing about the photos. The operator's key is
// never in a backup: whoever has the backup alone has nothing, and whoever has lost the operator's key has lost the backup too.
//
// # What is not in it
//
// The operator's key, and lost/: what a repair of the registry put aside there is of no photo that the registry knows.
//
// # What is forgotten
//
// A case that was destroyed in the registry lives on in the snapshots that were taken before, key and photos, until the last of them
// is removed by Prune.
package backup

// Package registry is the truth: cases, their photos and faces, who may ask, and what is still to be done. Lose the index
// and it is rebuilt from here; lose the registry and children are lost.
//
// # Words
//
// A case is one child's record, in one of two galleries. A photo belongs to a case. A face is one detected face in a
// photo; the subject face is the child's own. A template stands for a face under one model set. A reference is the
// template of a subject face that is good enough to be found with. A reunion is a missing and a found case that DNA has
// confirmed to be one child. An owner is one open Registry: a process usually has one, and several processes (a server,
// an import) may have the same folder open at once.
//
// # In the folder
//
//	registry.db      SQLite: every row there is
//	photos/ab/ab…    photos, encrypted, named by the SHA-256 of the ciphertext
//	tmp/<owner>/     uploads under way, encrypted too
//	operator.key     the key that opens all others; keep a copy elsewhere, and better keep the original elsewhere as well
//	open.lock        taken while a process opens the registry
//	registry.mark    the last entry of the audit that was committed, to notice a database that lost some
//	lost/            files that were in photos/ and belong to nothing there is, set aside by Open or Repair
//
// Folders made here are 0700 and files 0600.
//
// # What is durable
//
// When a method that changes something returns without an error, the change survives a crash and a power cut: every
// transaction is synced, and a photo's file and its name are synced before its row is written. When it returns an error,
// nothing has changed. A process killed at any moment leaves each photo whole or absent; what it left in tmp/ and
// photos/ is swept at the next Open, and the photos it was analysing go back into the queue. A database that has lost
// acknowledged transactions (its log cut short, an older copy put back) is noticed by its mark, and then nothing is swept.
//
// # What is secret
//
// Photos are encrypted from the first byte that reaches the disk, with a key per case (AES-256-GCM-HKDF in segments) that
// is sealed by the operator's key and bound to the case's id; a photo's ciphertext is bound to the photo's id. Embeddings
// and templates are sealed under one key of the registry, bound to face and model set. A stolen disk without the
// operator's key shows no photo and no biometrics; it does show the facts of the cases and where in photos faces are.
// Deleting a case destroys its key. Secrets of access keys and sessions are stored as hashes.
package registry

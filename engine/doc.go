// Package engine turns a photo into faces, and stores nothing.
//
// The path of a photo, each step in the file of its name:
//
//	decode   any photo a family has becomes upright sRGB pixels (libvips)
//	detect   where are the faces, and their eyes, nose and mouth
//	align    each face is turned and scaled onto the chip its model was trained on
//	embed    each recogniser of the model set makes numbers of the face; dlib's takes a road of its own
//	age      how old the face looks
//	quality  how far the face can be trusted to search with, and what to do where it cannot
//
// Nothing here names a model: which ones run, and how each wants its input, is in the cards of package models.
//
// Coordinates have their origin at the top left of the upright photo, x to the right and y down, in pixels; a pixel's
// centre lies at half its width, so (0.5, 0.5) is the middle of the first pixel.
package engine

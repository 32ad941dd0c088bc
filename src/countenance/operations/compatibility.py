"""Where an answer differs from Amazon's, operation by operation; `docs/reference/compatibility.md` is made of it."""

from __future__ import annotations

PAGE = "docs/reference/compatibility.md"

ATTRIBUTES = (
    "BoundingBox, Confidence, Landmarks (the five of DEFAULT), Pose and Quality are measured. Attributes not "
    "estimated yet (AgeRange, Beard, Emotions, EyeDirection, Eyeglasses, EyesOpen, FaceOccluded, Gender, "
    "MouthOpen, Mustache, Smile, Sunglasses, the other 25 landmarks) are accepted in the request and left out "
    "of the answer; no value is made up."
)
IMAGES = (
    "WebP, AVIF and HEIC are read too unless `strict_formats` is on. An image without EXIF orientation in "
    "which no upright face is found is tried turned by 90, 180 and 270 degrees; boxes refer to the image as given. "
    "Images longer than 50 to 1 are ImageTooLargeException, whatever their size."
)
SCORES = (
    "Similarity is this server's own scale: 80 stands for a false match rate of 1 in 10,000 and 99 for 1 in "
    "100,000 on the cross pairs of LFW View 1 (docs/accuracy.md), so thresholds carry over in meaning, not in value."
)

ARNS = "ARNs are accepted with and without the leading `arn:`."

BOUND = (
    "The collection is bound to the FaceModelVersion of this server's model pack. With another pack in use, searching "
    "it, indexing into it and associating in it are InvalidParameterException (docs/guides/model-packs.md)."
)

STATUS = "UserStatus is ACTIVE, or CREATED without faces, at once: aggregation is done when the call is answered."
TOKENS = "A ClientRequestToken is remembered for 24 hours."
USERS = (
    "A user is compared by the mean of its faces' features (docs/accuracy.md); 500 users at most when MaxUsers is "
    "absent. Users without faces are never matched."
)

NOTES: dict[str, tuple[str, ...]] = {
    "AssociateFaces": (SCORES, STATUS, TOKENS),
    "CompareFaces": (IMAGES, SCORES, "Emotions and Smile of ComparedFace are left out."),
    "CreateCollection": (BOUND,),
    "CreateUser": (TOKENS,),
    "DeleteUser": (TOKENS,),
    "DetectFaces": (IMAGES, ATTRIBUTES),
    "DisassociateFaces": (STATUS, TOKENS),
    "IndexFaces": (
        IMAGES,
        ATTRIBUTES,
        "The same image under the same ExternalImageId is the same reference: indexing it again adds nothing "
        "and keeps its FaceId. FaceIds are equal across the collections of an account and unrelated between "
        "accounts; a collection that was carried over to another model keeps those that it had.",
    ),
    "ListCollections": ("In the order of creation; 1,000 a page when MaxResults is absent or 0.",),
    "ListFaces": ("In the order of enrolment; 1,000 a page when MaxResults is absent or 0.",),
    "ListTagsForResource": (ARNS, "Collections are the only resources with tags."),
    "SearchFaces": (SCORES,),
    "SearchFacesByImage": (
        IMAGES,
        SCORES,
        "Extension: with the request header `x-countenance-all-faces: true` every face of the image is "
        "searched. FaceMatches then holds, for each enrolled face, its best match over all of them, and the "
        "additional member CountenanceSearchedFaces one {SearchedFaceBoundingBox, SearchedFaceConfidence, "
        "FaceMatches} per face, largest first. AWS SDKs drop members they do not know, so they see the former.",
        "With the setting `samples` at `matches`, a search that matched and whose image cannot be kept is "
        "InternalServerError.",
    ),
    "SearchUsers": (SCORES, USERS),
    "SearchUsersByImage": (IMAGES, SCORES, USERS),
    "TagResource": (ARNS,),
    "UntagResource": (ARNS,),
}
"""Supported operations that differ in something a client could notice."""

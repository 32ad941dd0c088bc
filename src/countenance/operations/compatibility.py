"""Where an answer differs from Amazon's, operation by operation; `docs/reference/compatibility.md` is made of it."""

from __future__ import annotations

PAGE = "docs/reference/compatibility.md"

ATTRIBUTES = (
    "BoundingBox, Confidence, Landmarks (the five of DEFAULT), Pose and Quality are in every answer. AgeRange, "
    "Emotions, EyeDirection, EyesOpen, Gender, MouthOpen, Smile and the other 25 landmarks (with ALL) are "
    "estimated when asked for, unless the setting `attributes` switches them off or their weights are not "
    "installed; docs/accuracy.md says with which models, under which licences and how far off they are. Left out "
    "of every answer, because no model for them may be used by everybody: Beard, Eyeglasses, FaceOccluded, "
    "Mustache, Sunglasses. No value is made up."
)
EXPRESSIONS = (
    "Emotions holds seven types, the likeliest first: CONFUSED and UNKNOWN never occur. EyeDirection is left out "
    "when the eyes are closed. Where the face mesh sees no face (a profile, a small or covered face), "
    "EyeDirection, EyesOpen, MouthOpen, Smile and the 25 landmarks are left out."
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
    "CompareFaces": (
        IMAGES,
        SCORES,
        "Emotions and Smile of ComparedFace are left out: the operation's description does not list them.",
    ),
    "CreateCollection": (BOUND,),
    "CreateUser": (TOKENS,),
    "DeleteUser": (TOKENS,),
    "DetectFaces": (IMAGES, ATTRIBUTES, EXPRESSIONS),
    "DisassociateFaces": (STATUS, TOKENS),
    "IndexFaces": (
        IMAGES,
        ATTRIBUTES,
        EXPRESSIONS,
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
    "SearchUsersByImage": (
        IMAGES,
        SCORES,
        USERS,
        "FaceDetail holds the attributes of DEFAULT: the operation has no member to ask for more.",
    ),
    "TagResource": (ARNS,),
    "UntagResource": (ARNS,),
}
"""Supported operations that differ in something a client could notice."""

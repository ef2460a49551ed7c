"""DeepLab semantic segmentation from training to the edge.

Importing this package costs nothing: no numpy, no network library, no side effects. Import the room you need, e.g.
`from edge_deeplab.runtime.segmenter import Segmenter`.
"""

__version__ = "0.1.0"

variable "subscription_id" {
  description = "Subscription that everything is in."
  type        = string
}

variable "name" {
  description = "Begins the name of everything that is made. Registry, storage account and vault are named after it without the hyphens."
  type        = string
  default     = "serin"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name))
    error_message = "name: 3 to 16 lower-case letters, digits and hyphens, beginning with a letter (it becomes part of names that Azure bounds at 24)."
  }
}

variable "location" {
  description = "Region of what is made; that of the resource group when that exists."
  type        = string
  default     = "westeurope"
}

# What is named here is taken as it is, and neither changed nor destroyed; what is null is made.
variable "existing" {
  description = "Names of what exists already: resource group, Azure ML workspace, container registry."
  type = object({
    resource_group = optional(string)
    registry       = optional(string)
    ml_workspace   = optional(string)
  })
  default = {}
  validation {
    condition     = var.existing.resource_group != null || (var.existing.registry == null && var.existing.ml_workspace == null)
    error_message = "existing: a registry or a workspace that exists is looked for in existing.resource_group: name that too."
  }
}

variable "mesh" {
  description = "addon: Azure's Istio add-on. self: no mesh is installed; install Istio yourself (README.md)."
  type        = string
  default     = "addon"
  validation {
    condition     = contains(["addon", "self"], var.mesh)
    error_message = "mesh: addon or self."
  }
}

variable "mesh_revision" {
  description = "Revision of the add-on, such as asm-1-30. Azure installs the last two or three only: `az aks mesh get-revisions -l LOCATION -o table` lists them."
  type        = string
  default     = null
  validation {
    condition     = var.mesh != "addon" || var.mesh_revision != null
    error_message = "mesh_revision: the add-on needs one, such as asm-1-30; `az aks mesh get-revisions -l LOCATION -o table` lists what Azure installs today."
  }
}

variable "namespace" {
  description = "Namespace of the scorers, with sidecars injected."
  type        = string
  default     = "abtesting"
}

variable "nodes" {
  description = "Nodes of the cluster: how many, and of which size."
  type = object({
    count = optional(number, 2)
    size  = optional(string, "Standard_D2s_v5")
  })
  default = {}
}

variable "kubernetes_version" {
  description = "Version of Kubernetes, such as 1.34; null: what Azure recommends. Serin needs 1.33."
  type        = string
  default     = null
}

variable "azure_devops_project" {
  description = "Azure DevOps project that gets the environment, its approval and the service connection; null: none."
  type        = string
  default     = null
}

variable "environment" {
  description = "Environment whose Approvals and Checks ask for sign-off at each stage."
  type        = string
  default     = "abtestenv"
}

variable "approvers" {
  description = "Principal names (e-mail addresses) of those who may sign a stage off; one of them is enough."
  type        = set(string)
  default     = []
  validation {
    condition     = var.azure_devops_project == null || length(var.approvers) > 0
    error_message = "approvers: at least one, or nobody could let a stage go on."
  }
}

variable "approval_timeout_minutes" {
  description = "How long a stage waits for its sign-off. Keep it below the document's approvalTimeout, so that the pipeline, not the controller, says that it ran out."
  type        = number
  default     = 1440
}

variable "tags" {
  description = "Tags of everything that is made."
  type        = map(string)
  default     = { app = "serin" }
}

variable "github_repository" {
  description = "OWNER/NAME of a GitHub repository whose workflows may act as the pipeline, in the environment and on branch; null: none. Since July 2026 GitHub calls new repositories OWNER@OWNER_ID/NAME@ID in its tokens: then write that."
  type        = string
  default     = null
}

variable "branch" {
  description = "Branch that ships: in Azure DevOps the environment lets no other in, in GitHub it may build and revert."
  type        = string
  default     = "main"
}

variable "admin_groups" {
  description = "Object ids of the Entra ID groups that administer the cluster."
  type        = list(string)
  default     = []
}

# Whoever ships: one identity for Azure DevOps, GitHub or both, without a secret.

locals {
  pipeline = var.azure_devops_project != null || var.github_repository != null
}

resource "azurerm_user_assigned_identity" "pipeline" {
  count               = local.pipeline ? 1 : 0
  name                = "${var.name}-pipeline"
  resource_group_name = local.group
  location            = local.location
  tags                = var.tags
}

# Who gets a token: the jobs of the steps, in the environment, which asks for sign-off; and what runs without one on the
# branch that ships: the build, and the revert, which waits for nobody.
resource "azurerm_federated_identity_credential" "github" {
  for_each = var.github_repository == null ? {} : {
    steps  = "environment:${var.environment}"
    branch = "ref:refs/heads/${var.branch}"
  }
  name                      = "github-${each.key}"
  user_assigned_identity_id = azurerm_user_assigned_identity.pipeline[0].id
  audience                  = ["api://AzureADTokenExchange"]
  issuer                    = "https://token.actions.githubusercontent.com"
  subject                   = "repo:${var.github_repository}:${each.value}"
}

# What the pipeline does, and no more: push images, read models, talk to the cluster (Serin's own roles bound there say
# what it may do with endpoints).
resource "azurerm_role_assignment" "pipeline" {
  for_each = { for what, grant in {
    push    = { role = "AcrPush", scope = local.registry.id }
    models  = { role = "AzureML Data Scientist", scope = local.workspace_id }
    cluster = { role = "Azure Kubernetes Service Cluster User Role", scope = azurerm_kubernetes_cluster.this.id }
  } : what => grant if local.pipeline }
  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.pipeline[0].principal_id
  principal_type       = "ServicePrincipal"
}
